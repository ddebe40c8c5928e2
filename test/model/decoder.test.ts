/** What must hold of every decoder, however it is run. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { type Cache, load, Model, seal, sites, type TapOptions } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openSafetensors, readBytes, writeSafetensors } from '../../src/store/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime())
const folder = mkdtempSync(join(tmpdir(), 'glossa-decoder-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17) % 97)
const ints = (values: readonly number[]): Tensor => tensor(Int32Array.from(values))
/** Cached and uncached passes sum in different orders. */
const rounding = { rtol: 1e-4, atol: 5e-5 }

/** Feeds rows in pieces through the cache; gives the reads of each piece. */
async function inPieces(model: Model, tokens: readonly number[], cuts: readonly number[], taps: TapOptions) {
  let cache: Cache = model.newCache(1, 32)
  const pieces: Record<string, Tensor>[] = []
  let from = 0
  for (const to of [...cuts, tokens.length]) {
    const step = await model.step(
      {
        tokens: model.rows([tokens.slice(from, to)]),
        cache,
        lengths: ints([from]),
        at: ints([to - from - 1]),
      },
      taps,
    )
    cache = step.cache
    pieces.push({ ...step.reads, last: step.logits })
    from = to
  }
  return pieces
}

const models = ['gpt2-tiny', 'llama-tiny', 'llama-tiny-16'] as const

describe.each(models)('%s', (name) => {
  const model = Model.open(fixture(name), engine)
  const { vocab } = model.spec

  it.each([
    ['one by one', [1, 2, 3, 4, 5, 6, 7, 8]],
    ['a prompt and steps', [5, 6, 7, 8]],
    ['in chunks', [4, 6]],
  ] as const)('gives the same logits through the cache, %s', async (_, cuts) => {
    const tokens = row(9)
    const { logits } = await model.run([tokens])
    const pieces = await inPieces(model, tokens, cuts, {})
    ;[...cuts, tokens.length].forEach((end, i) => {
      const own = (logits!.data as Float32Array).slice((end - 1) * vocab, end * vocab)
      allClose(pieces[i]!.last!.data as Float32Array, own, { ...rounding, name: `logits at ${end}` })
    })
  })

  it('gives the same activations through the cache', async () => {
    const tokens = row(7)
    // Scores and patterns run over the capacity of the cache there.
    const all = [...sites(model.spec).keys()].filter(
      (site) => !/attn_scores|pattern|logits|ln_final/.test(site),
    )
    const whole = await model.run([tokens], { read: all })
    const pieces = await inPieces(model, tokens, [4, 5], { read: all })
    for (const site of all) {
      const joined = pieces.flatMap((piece) => [...(piece[site]!.data as Float32Array)])
      allClose(Float32Array.from(joined), whole[site]!.data as Float32Array, { ...rounding, name: site })
    }
  })

  it('shows the pattern through the cache', async () => {
    const tokens = row(6)
    const site = 'blocks.1.attn.hook_pattern'
    const whole = await model.run([tokens], { read: [site] })
    const [, step] = await inPieces(model, tokens, [5], { read: [site] })
    const heads = model.spec.attention.heads
    for (let head = 0; head < heads; head++) {
      const last = (whole[site]!.data as Float32Array).slice((head * 6 + 5) * 6, (head * 6 + 6) * 6)
      const cached = (step![site]!.data as Float32Array).slice(head * 32, head * 32 + 6)
      allClose(cached, last, { ...rounding, name: `head ${head}` })
    }
  })

  it('continues each row of a batch as it would alone', async () => {
    const prompts = [row(3, 1), row(9, 2), row(6, 3), [5]]
    const together = await complete(model, prompts, { temperature: 0, maxTokens: 8 })
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await complete(model, [prompt], { temperature: 0, maxTokens: 8 })
      expect(together[i]!.tokens, `row ${i}`).toEqual(alone!.tokens)
    }
  })

  it('takes chunks of several rows with different lengths', async () => {
    const [first, second] = [row(8, 4), row(8, 5)]
    const lengths = [3, 5]
    let cache = model.newCache(2, 16)
    const fresh = [first.slice(0, 5), second.slice(0, 5)]
    const before = await model.step({
      tokens: model.rows(fresh),
      cache,
      lengths: ints([0, 0]),
      at: ints([2, 4]),
    })
    cache = before.cache
    // The first row keeps three tokens of its five, so that both go on from different places.
    const chunk = [first.slice(3, 6), second.slice(5, 8)]
    const after = await model.step({
      tokens: model.rows(chunk),
      cache,
      lengths: ints(lengths),
      at: ints([2, 2]),
    })
    for (const [i, tokens] of [first.slice(0, 6), second].entries()) {
      const { logits } = await model.run([tokens])
      const own = (logits!.data as Float32Array).slice(-vocab)
      const cached = (after.logits.data as Float32Array).slice(i * vocab, (i + 1) * vocab)
      allClose(cached, own, { ...rounding, name: `row ${i}` })
    }
  })

  it('passes every site through an edit, open and cached', async () => {
    const tokens = row(6)
    const { logits } = await model.run([tokens])
    const own = (logits!.data as Float32Array).slice(-vocab)
    const tested = [...sites(model.spec).keys()].filter((site) => !/^blocks\.[^1]/.test(site))
    for (const site of tested) {
      const last = async (edit: TapOptions['edit']) => {
        const open = await model.run([tokens], { read: ['logits'], edit: edit! })
        const [cached] = await inPieces(model, tokens, [], { edit: edit! })
        return [
          (open.logits!.data as Float32Array).slice(-vocab),
          cached!.last!.data as Float32Array,
        ] as const
      }
      for (const same of await last({ [site]: (x) => x.add(0) }))
        allClose(same, own, { ...rounding, name: site })
      const [open, cached] = await last({
        [site]: site.includes('resid') ? (x) => x.abs() : (x) => x.mul(0.5),
      })
      const moved = open.reduce((most, x, i) => Math.max(most, Math.abs(x - own[i]!)), 0)
      expect(moved, `${site} changes the output`).toBeGreaterThan(1e-4)
      allClose(cached, open, { ...rounding, name: `${site}, cached` })
    }
  }, 120_000)

  it('compiles once for prompts of 50 lengths', async () => {
    const own = Model.open(fixture(name), engine)
    for (let length = 1; length <= 50; length++)
      await complete(own, [row(length)], { temperature: 0, maxTokens: 2 })
    for (let length = 2; length <= 50; length++) await own.score([row(length)])
    expect(own.compilations).toBe(2)
    own.dispose()
  })

  it('scores alike open, sealed, batched and token by token', async () => {
    const rows = [row(12, 1), row(12, 2)]
    const open = await model.score(rows)
    using sealed = seal(model)
    allClose((await sealed.score(rows)).data as Float32Array, open.data as Float32Array, tolerance.f32)
    for (const [i, tokens] of rows.entries()) {
      const own = (open.data as Float32Array).slice(i * 11, (i + 1) * 11)
      allClose((await model.score([tokens])).data as Float32Array, own, {
        ...rounding,
        name: `row ${i} alone`,
      })
      const pieces = await inPieces(
        model,
        tokens,
        Array.from({ length: 11 }, (_, k) => k + 1),
        {},
      )
      const stepwise = pieces.slice(0, -1).map(({ last }, k) => {
        const logits = last!.data as Float32Array
        const total = logits.reduce((sum, x) => sum + Math.exp(x), 0)
        return logits[tokens[k + 1]!]! - Math.log(total)
      })
      allClose(Float32Array.from(stepwise), own, { ...rounding, name: `row ${i} token by token` })
    }
  })

  it('loses little in 8 bits and more in 4', async () => {
    const rows = [row(24, 1)]
    const total = async (m: Model) =>
      ((await m.score(rows)).data as Float32Array).reduce((sum, x) => sum + x, 0)
    const exact = await total(model)
    using int8 = seal(model, { weights: 'int8' })
    using int4 = seal(model, { weights: 'int4' })
    const [loss8, loss4] = [Math.abs((await total(int8)) - exact), Math.abs((await total(int4)) - exact)]
    console.log(
      `${name}: log-likelihood ${exact.toFixed(2)}, off by ${loss8.toFixed(3)} in int8, ${loss4.toFixed(3)} in int4`,
    )
    expect(loss8).toBeLessThan(0.02 * Math.abs(exact))
    expect(loss4).toBeLessThan(0.5 * Math.abs(exact))
    expect(loss4).toBeGreaterThan(0)
  })

  it('edits a quantised model while it generates', async () => {
    const silent = { edit: { 'blocks.1.hook_mlp_out': (x: Tensor) => x.mul(0) } }
    using plain = seal(model, { weights: 'int8' })
    using edited = seal(model, { weights: 'int8', ...silent })
    const options = { temperature: 0, maxTokens: 12 } as const
    const [a] = await complete(plain, [row(4)], options)
    const [b] = await complete(edited, [row(4)], options)
    expect(b!.tokens).not.toEqual(a!.tokens)
    await expect(complete(edited, [row(4)], options, { edit: silent.edit! })).rejects.toThrow(/sealed/)
  })
})

describe('refusals', () => {
  const model = Model.open(fixture('llama-tiny'), engine)

  it('suggests sites', async () => {
    await expect(model.run([row(3)], { read: ['blocks.0.hook_residual_pre'] })).rejects.toThrow(
      /no site 'blocks.0.hook_residual_pre'; did you mean .*'blocks.0.hook_resid_pre'|'blocks/,
    )
    await expect(model.run([row(3)], { read: ['blocks.9.hook_resid_pre'] })).rejects.toThrow(/layers 0 to 2/)
    await expect(model.run([row(3)], { read: ['hook_pos_embed'] })).rejects.toThrow(
      /no site 'hook_pos_embed'/,
    )
  })

  it('refuses edits that change the type', async () => {
    const edit = { hook_embed: (x: Tensor) => x.sum(-1) }
    await expect(model.run([row(3)], { read: ['logits'], edit })).rejects.toThrow(
      /hook_embed.*must keep the type/,
    )
  })

  it('refuses tokens outside the vocabulary, rows that differ, too many positions', async () => {
    await expect(model.run([[1, 101]])).rejects.toThrow(/token 101 is outside the vocabulary of 101/)
    await expect(model.run([[1, -1]])).rejects.toThrow(/token -1/)
    await expect(model.run([[1, 2], [3]])).rejects.toThrow(/rows of 2 and 1/)
    await expect(model.run([[]])).rejects.toThrow(/no tokens/)
    await expect(model.run([row(model.context + 1)])).rejects.toThrow(/positions, but the context is/)
  })

  const variant = (config: object | string, change?: (tensors: Map<string, number[]>) => void): string => {
    const path = mkdtempSync(join(folder, 'variant-'))
    const source = join(fixture('llama-tiny'), 'model.safetensors')
    if (change) {
      const entries = openSafetensors(source).tensors
      const shapes = new Map([...entries].map(([name, { shape }]) => [name, [...shape]]))
      change(shapes)
      const own = [...shapes].map(([name, shape]) => {
        const entry = entries.get(name)
        const same = entry && `${entry.shape}` === `${shape}`
        const data = same ? readBytes(entry) : new Float32Array(shape.reduce((a, b) => a * b, 1))
        return { name, dtype: 'f32' as const, shape, data }
      })
      writeSafetensors(join(path, 'model.safetensors'), own)
    } else symlinkSync(source, join(path, 'model.safetensors'))
    const original = JSON.parse(readFileSync(join(fixture('llama-tiny'), 'config.json'), 'utf8')) as object
    writeFileSync(
      join(path, 'config.json'),
      typeof config === 'string' ? config : JSON.stringify({ ...original, ...config }),
    )
    return path
  }

  it('names what does not fit in a checkpoint', () => {
    expect(() => load(variant({ rope_parameters: {} }))).toThrow(
      /config\.json: .*unknown keys 'rope_parameters'/,
    )
    expect(() => load(variant({ rope_scaling: { type: 'linear' } }))).toThrow(/rope_scaling.*not supported/)
    expect(() => load(variant({ model_type: 'bloom' }))).toThrow(/'bloom' is not supported.*gpt2, llama/)
    expect(() => load(variant('{"model_type": '))).toThrow(/config\.json: not valid JSON/)
    const name = 'model.layers.1.mlp.up_proj.weight'
    expect(() => load(variant({}, (tensors) => tensors.delete(name)))).toThrow(`'${name}' is missing`)
    expect(() => load(variant({}, (tensors) => tensors.set(name, [3, 4])))).toThrow(
      `'${name}' is [3, 4], not [88, 32]`,
    )
    expect(() => load(variant({}, (tensors) => tensors.set('extra.weight', [2])))).toThrow(
      "'extra.weight' has no place in the model",
    )
    expect(() => load(join(folder, 'nowhere'))).toThrow(/no such file/)
  })
})
