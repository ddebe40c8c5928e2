import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  FileStorage,
  fromStorage,
  fused,
  interpret,
  iota,
  placeholder,
  printGraph,
  symbol,
  type Tensor,
  tensor,
  trace,
  valueAndGrad,
  zeros,
} from '../../src/array/index.ts'
import type { Emitter } from '../../src/array/op.ts'
import { Engine, nodeRuntime, openEngine } from '../../src/onnx/index.ts'
import type { Session } from '../../src/onnx/runtime.ts'
import { expectClose, floats, toNd } from './support.ts'

const runtime = nodeRuntime({ threads: 2 })
const engine = new Engine(runtime)
afterAll(() => engine.dispose())
const numbers = (x: Tensor): number[] => [...toNd(x).data]

describe('named axes', () => {
  test('one compilation for all sizes', async () => {
    const f = engine.jit(
      (x: Tensor, y: Tensor) => x.matmul(y, { transposeB: true }).add(iota(x.shape[0]!, 'f32').expandDims(1)),
      {
        axes: [
          ['n', null],
          ['m', null],
        ],
      },
    )
    const graph = trace(
      (x: Tensor, y: Tensor) => x.matmul(y, { transposeB: true }),
      [floats([2, 3]), floats([2, 3])],
    )
    expect(graph.graph.inputs).toHaveLength(2)
    for (let n = 0; n < 20; n++)
      for (const m of [1, 7]) expect((await f(floats([n, 3]), floats([m, 3]))).sizes).toEqual([n, m])
    expect(f.compilations).toBe(1)
    await f(floats([2, 4]), floats([2, 4]))
    expect(f.compilations).toBe(2)
    f.dispose()
  })
  test('names for a branch, for leaves, for keys with dots', async () => {
    type Args = { weights: { 'layer.0.w': Tensor; 'layer.1': { w: Tensor } }; x: Tensor }
    const f = engine.jit(({ weights, x }: Args) => weights['layer.0.w'].add(weights['layer.1'].w).mul(x), {
      axes: [{ weights: { 'layer.0.w': ['n'], 'layer.1': ['n'] }, x: ['n'] }],
    })
    for (const n of [1, 2, 3]) {
      const v = tensor(Float32Array.from({ length: n }, (_, i) => i))
      const sum = await f({ weights: { 'layer.0.w': v, 'layer.1': { w: v } }, x: v })
      expect(numbers(sum)).toEqual([0, 2, 8].slice(0, n))
    }
    expect(f.compilations).toBe(1)
    f.dispose()
  })
  test('sizes that do not fit name the input and the axis', async () => {
    const f = engine.jit((a: { x: Tensor; y: Tensor }) => a.x.add(a.y), { axes: [['n']] })
    await expect(f({ x: floats([2]), y: floats([3]) })).rejects.toThrow(
      "input '0.y' is f32[n], got [3]: 'n' is 2 elsewhere",
    )
    f.dispose()
  })
  test('programs check what they are given', async () => {
    const { graph } = trace((x: Tensor, y: Tensor) => x.mul(y), [floats([2, 3]), floats([3])], {
      axes: [['n', null]],
    })
    const program = await engine.compile(graph)
    await expect(program.run([floats([2, 4]), floats([3])])).rejects.toThrow(
      "input '0' is f32[n, 3], got [2, 4]",
    )
    await expect(program.run([floats([6]), floats([3])])).rejects.toThrow("input '0' is f32[n, 3], got [6]")
    await expect(program.run([floats([2, 3])])).rejects.toThrow('takes 2 inputs, got 1')
    await expect(program.run([floats([2, 3]), zeros([3], 'i32')])).rejects.toThrow(
      "input '1' is f32[3], got dtype i32",
    )
    program.dispose()
    await expect(program.run([floats([2, 3]), floats([3])])).rejects.toThrow('this program has been disposed')
  })
  test('inputs whose size is a sum', async () => {
    const [x, y] = [placeholder('x', [symbol('n')], 'f32'), placeholder('y', [symbol('m')], 'f32')]
    const both = x.concat([y], 0)
    const z = placeholder('z', both.shape, 'f32')
    const graph = {
      inputs: [
        { name: 'z', tensor: z },
        { name: 'x', tensor: x },
        { name: 'y', tensor: y },
      ],
      outputs: [{ name: 'sum', tensor: both.add(z) }],
    }
    const program = await engine.compile(graph)
    const [sum] = await program.run([tensor([1, 1, 1]), tensor([1, 2]), tensor([3])])
    expect(numbers(sum!)).toEqual([2, 3, 4])
    await expect(program.run([floats([4]), floats([2]), floats([1])])).rejects.toThrow("'m+n' is 3")
    program.dispose()
  })
  test('wrong names', async () => {
    const wrong = engine.jit((x: Tensor) => x, { axes: [['n', 'm']] })
    await expect(wrong(floats([2]))).rejects.toThrow("axes: 2 names for '0', which is f32[2]")
    const sum = engine.jit((x: Tensor) => x, { axes: [['past+time']] })
    await expect(sum(floats([2]))).rejects.toThrow("'past+time' cannot name an axis")
  })
})

describe('trees', () => {
  test('results of any structure; an output twice, an input, a constant', async () => {
    const constant = tensor([7])
    const f = engine.jit((x: Tensor) => {
      const y = x.add(1)
      return { a: [y, y, { b: x }], c: constant, none: undefined }
    })
    const result = await f(tensor([1]))
    expect(numbers(result.a[0] as Tensor)).toEqual([2])
    expect(numbers(result.a[1] as Tensor)).toEqual([2])
    expect(numbers((result.a[2] as { b: Tensor }).b)).toEqual([1])
    expect(numbers(result.c)).toEqual([7])
    expect(result.none).toBeUndefined()
    f.dispose()
    expect(numbers(result.c)).toEqual([7])
  })
  test('what is no tree', async () => {
    const f = engine.jit((x: unknown) => x as Tensor)
    const wrong: [unknown, string][] = [
      [{ a: 1 }, "at '0.a' there is a number"],
      [{ a: { b: null } }, "at '0.a.b' there is a null"],
      [{ a: new Map() }, "at '0.a' there is a Map"],
      [new Float32Array(2), "at '0' there is a Float32Array"],
    ]
    for (const [tree, message] of wrong) await expect(f(tree)).rejects.toThrow(message)
    await expect(engine.jit(() => ({ n: 3 }))()).rejects.toThrow("at 'n' there is a number")
  })
  test('a traced tensor is no argument', async () => {
    const f = engine.jit((x: Tensor) => x.add(1))
    await expect(f(tensor([1]).add(1))).rejects.toThrow('is part of a graph and has no contents')
  })
  test('an input of another trace', async () => {
    let leaked: Tensor | undefined
    trace(
      (x: Tensor) => {
        leaked = x
        return x
      },
      [tensor([1])],
    )
    await expect(engine.jit(() => leaked!.add(1))()).rejects.toThrow(
      "'0' is used but is no input of the graph",
    )
  })
})

describe('memory given away', () => {
  /** Adds to a cache; the fused operator writes over the cache, as GroupQueryAttention does. */
  const bump = fused<object>({
    name: 'test bump',
    body: ([cache, x]) => [cache!.add(x!)],
    overwrites: { 0: 0 },
    onnx: (e: Emitter, [cache, x]) => [e.node('Add', [cache!, x!])],
  })
  const step = (cache: { k: Tensor }, x: Tensor) => {
    const k = bump([cache.k, x], {})[0]!
    return { cache: { k }, sum: k.sum() }
  }
  test('the result is the argument, written over', async () => {
    const f = engine.jit(step, { inPlace: { cache: '0' } })
    const k = tensor([1, 2])
    const result = await f({ k }, tensor([10, 20]))
    expect(result.cache.k).toBe(k)
    expect(numbers(k)).toEqual([11, 22])
    expect(result.sum.item()).toBe(33)
    f.dispose()
  })
  test('without inPlace the argument stays', async () => {
    const f = engine.jit(step)
    const k = tensor([1, 2])
    expect(numbers((await f({ k }, tensor([10, 20]))).cache.k)).toEqual([11, 22])
    expect(numbers(k)).toEqual([1, 2])
    f.dispose()
  })
  test('an argument that something else reads is not written over', async () => {
    const f = engine.jit(
      (cache: { k: Tensor }, x: Tensor) => ({ ...step(cache, x), before: cache.k.mul(2), same: cache.k }),
      { inPlace: { cache: '0' } },
    )
    const k = tensor([1, 2])
    const result = await f({ k }, tensor([10, 20]))
    expect(numbers(result.cache.k)).toEqual([11, 22])
    expect(numbers(result.before)).toEqual([2, 4])
    expect(numbers(result.same)).toEqual([1, 2])
    expect(numbers(k)).toEqual([1, 2])
    f.dispose()
  })
  test('what is written over is no other argument', async () => {
    const f = engine.jit(
      (cache: { k: Tensor; v: Tensor }, x: Tensor) => ({
        cache: { k: bump([cache.k, x], {})[0]!, v: bump([cache.v, x], {})[0]! },
      }),
      { inPlace: { cache: '0' } },
    )
    const [k, v] = [tensor([1, 2]), tensor([1, 2])]
    await f({ k, v }, tensor([10, 20]))
    expect(numbers(v)).toEqual([11, 22])
    await expect(f({ k, v: k }, v)).rejects.toThrow("input '0.v' is written over and is input '0.k' too")
    await expect(f({ k, v }, v)).rejects.toThrow("input '0.v' is written over and is input '1' too")
    expect(numbers(v)).toEqual([11, 22])
    f.dispose()
  })
  test('operations that write elsewhere leave the argument alone', async () => {
    const f = engine.jit((x: Tensor) => ({ x: x.add(1) }), { inPlace: { x: '0' } as Record<string, string> })
    await expect(f(tensor([1]))).resolves.toBeDefined()
    f.dispose()
  })
  test('memory that no operator writes over takes turns', async () => {
    const f = engine.jit(
      (params: { a: Tensor; b: Tensor }, rate: Tensor) => {
        const next = { a: params.a.sub(params.b.mul(rate)), b: params.b.sub(params.a.mul(rate)) }
        return { params: next, sum: params.a.add(params.b).sum() }
      },
      { inPlace: { params: '0' } },
    )
    const start = { a: tensor([1, 2]), b: tensor([3, 5]) }
    let [a, b] = [Float64Array.of(1, 2), Float64Array.of(3, 5)]
    let params = start
    for (let i = 0; i < 10; i++) {
      const result = await f(params, tensor([0.5], []))
      const sum = a[0]! + a[1]! + b[0]! + b[1]!
      ;[a, b] = [a.map((v, k) => v - 0.5 * b[k]!), b.map((v, k) => v - 0.5 * a[k]!)]
      expect(numbers(result.params.a)).toEqual([...a])
      expect(numbers(result.params.b)).toEqual([...b])
      expect(result.sum.item()).toBe(sum)
      if (i > 0) expect(() => params.a.data).toThrow('has been disposed')
      params = result.params
    }
    expect(numbers(start.a)).toEqual([1, 2])
    const { a: once } = params
    await expect(f({ a: once, b: once }, tensor([0.5], []))).rejects.toThrow(
      "'0.b' is written over and is input '0.a' too",
    )
    expect(numbers(once)).toEqual([...a])
    f.dispose()
  })
  test('a pair that does not fit leaves no session', async () => {
    const { graph } = trace((x: Tensor) => x.sum(), [floats([2])])
    const before = engine.openSessions
    await expect(engine.compile({ ...graph, inPlace: new Map([[0, 0]]) })).rejects.toThrow('inPlace')
    expect(engine.openSessions).toBe(before)
  })
  test('pairs that do not fit', async () => {
    const x = tensor([1, 2])
    const make = (inPlace: Record<string, string>, g: (c: { k: Tensor }) => unknown) =>
      engine.jit(g, { inPlace })({ k: x })
    await expect(make({ nothing: '0' }, (c) => ({ c }))).rejects.toThrow(
      "inPlace: the result has no branch 'nothing'",
    )
    await expect(make({ c: '1' }, (c) => ({ c }))).rejects.toThrow(
      "has no counterpart '1.k' in the arguments",
    )
    await expect(make({ c: '0' }, (c) => ({ c: { k: c.k.sum() } }))).rejects.toThrow(
      "inPlace: the result 'c.k' is f32[], the argument '0.k' is f32[2]",
    )
  })
})

describe('captured tensors', () => {
  test.each([
    ['inside the model', 8],
    ['beside the model, in memory', 5000],
  ])('%s', async (_, size) => {
    const data = Float32Array.from({ length: size }, (_, i) => i % 10)
    const w = tensor(data)
    const f = engine.jit((x: Tensor) => w.mul(x).sum())
    expect((await f(tensor([1], []))).item()).toBe(4.5 * 10 * Math.floor(size / 10) + (size === 8 ? 28 : 0))
    // A program keeps what it was compiled with.
    data.fill(0)
    expect((await f(tensor([2], []))).item()).toBe(
      2 * (4.5 * 10 * Math.floor(size / 10) + (size === 8 ? 28 : 0)),
    )
    f.dispose()
  })
  test('programs over different contents are different', async () => {
    for (const size of [3, 5000]) {
      const sums = await Promise.all(
        [1, 2].map(async (value) => {
          const w = tensor(new Float32Array(size).fill(value))
          return (await engine.jit((x: Tensor) => w.mul(x).sum())(tensor([1], []))).item()
        }),
      )
      expect(sums).toEqual([size, 2 * size])
    }
  })

  describe('in files', () => {
    const folder = mkdtempSync(join(tmpdir(), 'glossa-mapped-'))
    afterAll(() => rmSync(folder, { recursive: true }))
    const fileTensor = (path: string, offset: number, values: Float32Array, fail = false) =>
      fromStorage(
        new FileStorage('f32', [values.length], { path, offset, bytes: values.byteLength }, () => {
          if (fail) throw new Error('the file was read')
          return values
        }),
      )
    const write = (name: string, header: number, values: Float32Array): string => {
      const path = join(folder, name)
      writeFileSync(path, Buffer.concat([Buffer.alloc(header, 0xff), Buffer.from(values.buffer)]))
      return path
    }
    const values = Float32Array.from({ length: 3000 }, (_, i) => i)
    const sum = (2999 * 3000) / 2

    test.each([0, 8, 4096, 12345])('mapped from byte %i, not read', async (offset) => {
      const w = fileTensor(write(`at-${offset}`, offset, values), offset, values, true)
      const f = engine.jit((x: Tensor) => w.mul(x).sum())
      expect((await f(tensor([1], []))).item()).toBeCloseTo(sum, -2)
      f.dispose()
    })
    test('returned as it is, and kept after the program is gone', async () => {
      const w = fileTensor(write('returned', 8, values), 8, values, true)
      const f = engine.jit(() => ({ w, more: w.add(1) }))
      const result = await f()
      f.dispose()
      expectClose(toNd(result.w), { shape: [3000], data: Float64Array.from(values) }, 0)
      expect(result.more.data[2999]).toBe(3000)
    })
    test('beside constants in memory and of other folders', async () => {
      const other = mkdtempSync(join(tmpdir(), 'glossa-elsewhere-'))
      const path = join(other, 'w')
      writeFileSync(path, Buffer.from(values.buffer))
      const [near, far] = [fileTensor(write('near', 8, values), 8, values, true), fileTensor(path, 0, values)]
      const big = tensor(new Float32Array(3000).fill(1))
      const f = engine.jit((x: Tensor) => near.add(far).add(big).mul(x).sum())
      expect((await f(tensor([1], []))).item()).toBeCloseTo(2 * sum + 3000, -2)
      f.dispose()
      rmSync(other, { recursive: true })
    })
    test('a file written anew is not mistaken for the old one', async () => {
      const path = write('changing', 0, values)
      const make = () => {
        const w = fileTensor(path, 0, values, true)
        return engine.jit((x: Tensor) => w.mul(x).sum())
      }
      const old = make()
      expect((await old(tensor([1], []))).item()).toBeCloseTo(sum, -2)
      write(
        'changing.new',
        0,
        values.map((v) => 2 * v),
      )
      rmSync(path)
      write(
        'changing',
        0,
        values.map((v) => 2 * v),
      )
      utimesSync(path, new Date(), new Date(Date.now() + 5000))
      const fresh = make()
      expect((await fresh(tensor([1], []))).item()).toBeCloseTo(2 * sum, -2)
      old.dispose()
      fresh.dispose()
    })
    test('a missing file', async () => {
      const w = fileTensor(join(folder, 'missing'), 0, values, true)
      const before = engine.openSessions
      await expect(engine.jit((x: Tensor) => w.mul(x))(tensor([1], []))).rejects.toThrow('missing')
      expect(engine.openSessions).toBe(before)
    })
  })
})

describe('compute', () => {
  test('equal expressions share a session, whatever their data', async () => {
    const own = openEngine({ threads: 1 })
    for (let i = 0; i < 100; i++) {
      const y = await own.compute(tensor([i, 1]).mul(2).sum())
      expect(y.item()).toBe(2 * i + 2)
    }
    expect(own.openSessions).toBe(1)
    await own.dispose()
  })
  test('sessions stay bounded where expressions differ', async () => {
    const own = openEngine({ threads: 1 })
    for (let i = 0; i < 100; i++) expect((await own.compute(tensor([1]).mul(i))).item()).toBe(i)
    expect(own.openSessions).toBeLessThanOrEqual(64)
    const all = await Promise.all(Array.from({ length: 100 }, (_, i) => own.compute(tensor([2]).mul(i))))
    expect(all.map((x) => x.item())).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i))
    expect(own.openSessions).toBeLessThanOrEqual(64)
    await own.dispose()
    expect(own.openSessions).toBe(0)
  })
  test('concrete leaves stay as they are', async () => {
    const x = tensor([1])
    const tree = await engine.compute({ x, y: x.add(1), none: undefined })
    expect(tree.x).toBe(x)
    expect(numbers(tree.y)).toEqual([2])
    expect(await engine.compute(x)).toBe(x)
  })
  test('data of a first call is not kept', async () => {
    const own = openEngine({ threads: 1 })
    const x = tensor([1, 2])
    await own.compute(x.add(1))
    x.dispose()
    expect(numbers(await own.compute(tensor([5, 6]).add(1)))).toEqual([6, 7])
    await expect(own.compute(x.add(1))).rejects.toThrow('has been disposed')
    expect(numbers(await own.compute(tensor([7, 8]).add(1)))).toEqual([8, 9])
    await own.dispose()
  })
  test('negative zero is not zero', async () => {
    expect((await engine.compute(tensor([1]).div(0))).item()).toBe(Number.POSITIVE_INFINITY)
    expect((await engine.compute(tensor([1]).div(-0))).item()).toBe(Number.NEGATIVE_INFINITY)
    const both = tensor([1])
      .div(0)
      .minimum(tensor([1]).div(-0))
    expect((await engine.compute(both)).item()).toBe(Number.NEGATIVE_INFINITY)
  })
})

describe('the engine', () => {
  /** A runtime whose sessions can be counted and made to fail or wait. */
  function watched() {
    const state = { created: 0, released: 0, fail: false, gate: Promise.resolve() }
    const own = new Engine({
      ...runtime,
      async createSession(...args) {
        state.created++
        await state.gate
        if (state.fail) throw new Error('no memory')
        const session = await runtime.createSession(...args)
        return Object.assign(Object.create(session) as Session, {
          run: session.run.bind(session),
          release: async () => {
            state.released++
            await session.release()
          },
        })
      },
    })
    return { own, state }
  }
  const graphOf = (factor: number) => trace((x: Tensor) => x.mul(factor), [tensor([1])]).graph

  test('equal graphs share a session, released with its last user', async () => {
    const { own, state } = watched()
    const programs = await Promise.all([
      own.compile(graphOf(2)),
      own.compile(graphOf(2)),
      own.compile(graphOf(3)),
    ])
    expect(state.created).toBe(2)
    programs[0]!.dispose()
    programs[0]!.dispose()
    expect(own.openSessions).toBe(2)
    expect(numbers((await programs[1]!.run([tensor([4])]))[0]!)).toEqual([8])
    programs[1]!.dispose()
    expect(own.openSessions).toBe(1)
    await own.dispose()
    expect(state.released).toBe(2)
  })
  test('a failed compilation leaves nothing behind and is tried again', async () => {
    const { own, state } = watched()
    const f = own.jit((x: Tensor) => x.add(1))
    state.fail = true
    await expect(Promise.all([f(tensor([1])), f(tensor([1]))])).rejects.toThrow('no memory')
    await expect(own.compute(tensor([1]).add(2))).rejects.toThrow('no memory')
    expect([own.openSessions, f.compilations]).toEqual([0, 0])
    state.fail = false
    expect(numbers(await f(tensor([1])))).toEqual([2])
    expect((await own.compute(tensor([1]).add(2))).item()).toBe(3)
    await own.dispose()
    expect(state.released).toBe(2)
  })
  test('disposed while compiling', async () => {
    const { own, state } = watched()
    let open = () => {}
    state.gate = new Promise((resolve) => {
      open = resolve
    })
    const compiled = own.compile(graphOf(2))
    const failed = expect(compiled).rejects.toThrow('this engine has been disposed')
    const disposed = own.dispose()
    open()
    await Promise.all([failed, disposed])
    expect([state.created, state.released, own.openSessions]).toEqual([1, 1, 0])
  })
  test('disposed while a compilation fails', async () => {
    const { own, state } = watched()
    state.fail = true
    const compiled = expect(own.compile(graphOf(2))).rejects.toThrow('no memory')
    await Promise.all([compiled, own.dispose()])
  })
  test('a jitted function disposed while compiling releases its program', async () => {
    const { own, state } = watched()
    const f = own.jit((x: Tensor) => x.add(1))
    const result = f(tensor([1])).catch(() => undefined)
    f.dispose()
    await result
    await new Promise((resolve) => setImmediate(resolve))
    expect([own.openSessions, state.released]).toEqual([0, 1])
    await own.dispose()
  })
  test('nothing runs after dispose', async () => {
    const own = openEngine({ threads: 1 })
    const program = await own.compile(graphOf(2))
    const f = own.jit((x: Tensor) => x.add(1))
    await f(tensor([1]))
    await own.dispose()
    await own.dispose()
    await expect(program.run([tensor([1])])).rejects.toThrow('disposed')
    await expect(f(tensor([1]))).rejects.toThrow('disposed')
    await expect(own.compile(graphOf(2))).rejects.toThrow('this engine has been disposed')
    await expect(own.compute(tensor([1]).add(1))).rejects.toThrow('this engine has been disposed')
    program.dispose()
    f.dispose()
  })
  test('an unknown device or thread count', () => {
    expect(() => openEngine({ device: 'abacus' })).toThrow(
      "execution provider 'abacus' is not part of this build",
    )
    expect(() => openEngine({ threads: 0 })).toThrow('threads must be a positive integer, got 0')
  })

  /** Memory after a warm-up and after many repetitions. */
  async function growth(repeat: () => Promise<void>, warm: number, more: number): Promise<number> {
    const settle = () => {
      globalThis.gc?.()
      return process.memoryUsage().rss
    }
    for (let i = 0; i < warm; i++) await repeat()
    const before = settle()
    for (let i = 0; i < more; i++) await repeat()
    return (settle() - before) / 2 ** 20
  }
  test('200 sessions opened and released leave memory as it was', async () => {
    const own = openEngine({ threads: 2 })
    let seed = 0
    // A megabyte of constants each: kept sessions would add 180 MiB.
    const grown = await growth(
      async () => {
        const w = tensor(new Float32Array(512 * 512).fill(seed++), [512, 512])
        const f = own.jit((x: Tensor) => x.matmul(w).exp())
        ;(await f(floats([1, 512]))).dispose()
        f.dispose()
      },
      40,
      200,
    )
    expect(own.openSessions).toBe(0)
    expect(grown).toBeLessThan(80)
    await own.dispose()
  })
  test('results that are dropped or disposed do not pile up', async () => {
    const f = engine.jit((x: Tensor) => x.add(1))
    const x = floats([2 ** 18])
    // A megabyte each: kept results would add 300 MiB.
    expect(await growth(async () => (await f(x)).dispose(), 100, 300)).toBeLessThan(100)
    expect(await growth(async () => void (await f(x)), 100, 300)).toBeLessThan(100)
    f.dispose()
  })
})

test('the graph of a training step, as text', () => {
  const step = (params: { w: Tensor; b: Tensor }, x: Tensor, y: Tensor) => {
    const [loss, grads] = valueAndGrad((p: typeof params) => {
      const error = x.matmul(p.w).add(p.b).sub(y)
      return error.mul(error).mean()
    })(params)
    return { loss, params: { w: params.w.sub(grads.w.mul(0.1)), b: params.b.sub(grads.b.mul(0.1)) } }
  }
  const { graph } = trace(step, [{ w: zeros([3, 2]), b: zeros([2]) }, zeros([4, 3]), zeros([4, 2])], {
    axes: [undefined, ['n', null], ['n', null]],
  })
  expect(printGraph(graph)).toMatchInlineSnapshot(`
    "input @0.w   f32[3, 2]
    input @0.b   f32[2]
    input @1   f32[n, 3]
    input @2   f32[n, 2]
    %0 = identity(@0.w)   f32[3, 2]
    %1 = matmul(@1, %0) {alpha: 1}   f32[n, 2]
    %2 = identity(@0.b)   f32[2]
    %3 = add(%1, %2)   f32[n, 2]
    %4 = sub(%3, @2)   f32[n, 2]
    %5 = mul(%4, %4)   f32[n, 2]
    %6 = sum(%5) {axes: [0, 1]}   f32[]
    %7 = size() {size: 2*n, dtype: f32}   f32[]
    %8 = div(%6, %7)   f32[]
    %9 = div(1, %7)   f32[]
    %10 = reshape(%9) {shape: [1, 1]}   f32[1, 1]
    %11 = broadcastTo(%10) {shape: [n, 2]}   f32[n, 2]
    %12 = mul(%11, %4)   f32[n, 2]
    %13 = mul(%11, %4)   f32[n, 2]
    %14 = add(%12, %13)   f32[n, 2]
    %15 = matmul(@1, %14) {transposeA, alpha: 1}   f32[3, 2]
    %16 = mul(%15, 0.10000000149011612)   f32[3, 2]
    %17 = sub(@0.w, %16)   f32[3, 2]
    %18 = sum(%14) {axes: [0]}   f32[2]
    %19 = mul(%18, 0.10000000149011612)   f32[2]
    %20 = sub(@0.b, %19)   f32[2]
    output loss = %8
    output params.w = %17
    output params.b = %20"
  `)
  const [loss] = interpret(graph, [zeros([3, 2]), zeros([2]), floats([4, 3]), floats([4, 2])].map(toNd))
  expect(loss!.data[0]).toBeGreaterThan(0)
})
