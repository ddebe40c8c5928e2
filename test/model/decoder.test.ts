/** What must hold of every decoder, however it is run. */
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { type Cache, Model, seal, type TapOptions } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime())
afterAll(() => engine.dispose())

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

const models = ['gpt2-tiny', 'llama-tiny', 'llama-tiny-16', 'families/mamba'] as const

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

  it('continues each row of a batch as it would alone', async () => {
    const prompts = [row(3, 1), row(9, 2), row(6, 3), [5]]
    const together = await complete(model, prompts, { temperature: 0, maxTokens: 8 })
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await complete(model, [prompt], { temperature: 0, maxTokens: 8 })
      expect(together[i]!.tokens, `row ${i}`).toEqual(alone!.tokens)
    }
  })

  it('compiles once for prompts of 50 lengths and batches of any size', async () => {
    const own = Model.open(fixture(name), engine)
    for (let length = 1; length <= 50; length++)
      await complete(own, [row(length)], { temperature: 0, maxTokens: 2 })
    for (let length = 2; length <= 50; length++) await own.score([row(length)])
    for (let batch = 2; batch <= 4; batch++)
      await complete(
        own,
        Array.from({ length: batch }, (_, i) => row(i + 1)),
        { temperature: 0, maxTokens: 2 },
      )
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
    const scores = async (m: Model) => (await m.score(rows)).data as Float32Array
    const exact = await scores(model)
    using int8 = seal(model, { weights: 'int8' })
    using int4 = seal(model, { weights: 'int4' })
    /** Root mean square error of a token's log-probability, in nats. */
    const error = (own: Float32Array): number =>
      Math.sqrt(own.reduce((sum, x, i) => sum + (x - exact[i]!) ** 2, 0) / own.length)
    const [error8, error4] = [error(await scores(int8)), error(await scores(int4))]
    console.log(
      `${name}: log-probabilities off by ${error8.toFixed(4)} in int8, ${error4.toFixed(3)} in int4`,
    )
    expect(error8).toBeLessThan(0.2)
    expect(error4).toBeGreaterThan(2 * error8)
    expect(error4).toBeLessThan(20 * error8)
  })

  it('edits a quantised model while it generates', async () => {
    const site = `blocks.1.hook_${model.spec.ffn ? 'mlp' : 'ssm'}_out`
    const silent = { edit: { [site]: (x: Tensor) => x.mul(0) } }
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

  it('refuses tokens outside the vocabulary, rows that differ, too many positions', async () => {
    await expect(model.run([[1, 101]])).rejects.toThrow(/token 101 is outside the vocabulary of 101/)
    await expect(model.run([[1, -1]])).rejects.toThrow(/token -1/)
    await expect(model.run([[1, 2], [3]])).rejects.toThrow(/rows of 2 and 1/)
    await expect(model.run([[]])).rejects.toThrow(/no tokens/)
    await expect(model.run([row(model.context + 1)])).rejects.toThrow(/positions, but the context is/)
  })
})
