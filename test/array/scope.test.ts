import { expect, it } from 'vitest'
import { oneHot, Scope, tensor } from '../../src/array/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

it('frees what it owns and keeps what it releases', async () => {
  await using engine = new Engine(nodeRuntime())
  const inside = await engine.compute({ a: tensor([1, 2]).add(1), b: [tensor([3]).mul(2)] })
  {
    using scope = new Scope()
    expect(scope.own(inside)).toBe(inside)
    scope.release(inside.b)
    expect([...inside.a.data]).toEqual([2, 3])
  }
  expect(() => inside.a.data).toThrow(/disposed/)
  expect([...inside.b[0]!.data]).toEqual([6])
})

it('releases sessions of programs that are forgotten', async () => {
  await using engine = new Engine(nodeRuntime())
  let double: ((x: ReturnType<typeof tensor>) => Promise<unknown>) | undefined = engine.jit(
    (x: ReturnType<typeof tensor>) => x.mul(2).sin().cos(),
  )
  await double(tensor([1]))
  expect(engine.openSessions).toBe(1)
  double = undefined
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let i = 0; i < 50 && engine.openSessions > 0; i++) {
    collect()
    await new Promise((done) => setTimeout(done, 10))
  }
  expect(engine.openSessions).toBe(0)
})

it('makes one-hot rows', async () => {
  await using engine = new Engine(nodeRuntime())
  const rows = await engine.compute(oneHot(tensor(Int32Array.of(2, 0)), 3))
  expect([...rows.data]).toEqual([0, 0, 1, 1, 0, 0])
  expect(() => oneHot(tensor([1.5]), 3)).toThrow(/takes integers/)
})
