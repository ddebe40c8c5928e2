/** Edits with arguments: the same numbers as constants, in every way of running, with nothing compiled in between. */
import { afterAll, describe, expect, it } from 'vitest'
import { scalar, type Tensor, tensor } from '../../src/array/index.ts'
import { complete, PromptCache, scoreTokens } from '../../src/decode/index.ts'
import { type Edits, type EditWithArguments, Encoder, Model, Seq2Seq, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

interface Direction {
  readonly vector: Tensor
  readonly strength: Tensor
}
const along = (x: Tensor, { vector, strength }: Direction): Tensor => x.add(vector.mul(strength))
const scaled = (x: Tensor, { factor }: { factor: Tensor }): Tensor => x.mul(factor)
const shifted = (x: Tensor): Tensor => x.add(1)

const vectorOf = (width: number, seed: number): Tensor =>
  tensor(Float32Array.from({ length: width }, (_, i) => Math.sin(seed * 7 + i * (seed + 1))))
const steered = (vector: Tensor, strength: number): EditWithArguments<Direction> => ({
  apply: along,
  args: { vector, strength: tensor([strength], []) },
})
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17) % 61)
const rounding = { rtol: 1e-4, atol: 5e-5 }
const greedy = { temperature: 0, maxTokens: 8, stopTokens: [] as number[] }

describe.each(['gpt2-tiny', 'llama-tiny', 'families/mamba'])('%s', (name) => {
  const model = Model.open(fixture(name), engine)
  const { width, vocab } = model.spec
  const site = 'blocks.1.hook_resid_post'
  const at = (seed: number, strength: number): Edits => ({ [site]: steered(vectorOf(width, seed), strength) })
  const logits = async (of: Model, tokens: readonly number[], edit: Edits = {}): Promise<Float32Array> =>
    floats((await of.run([tokens], { read: ['logits'], edit })).logits)

  it('computes what the same edit with constants computes', async () => {
    for (const [seed, strength] of [
      [1, 0],
      [1, 0.5],
      [2, -3],
    ] as const) {
      const vector = vectorOf(width, seed)
      const constant = { [site]: (x: Tensor) => x.add(vector.mul(strength)) }
      const own = await logits(model, row(7), at(seed, strength))
      allClose(own, await logits(model, row(7), constant), { ...rounding, name: `${seed} x ${strength}` })
    }
  })

  it('compiles nothing for another strength or another vector', async () => {
    model.dispose()
    const pass = async (edit: Edits): Promise<void> => {
      await model.run([row(5)], { read: ['logits'], edit })
      await model.score([row(5)], { edit })
      await complete(model, [row(5), row(3)], greedy, { edit })
    }
    await pass(at(1, 1))
    const { compilations } = model
    expect(compilations).toBe(3)
    for (const [seed, strength] of [
      [1, 2],
      [2, 2],
      [3, -1],
    ] as const)
      await pass(at(seed, strength))
    expect(model.compilations).toBe(compilations)
    // Arguments of another shape are another program.
    await model.run([row(5)], { read: ['logits'], edit: { [site]: steered(vectorOf(1, 1), 1) } })
    expect(model.compilations).toBe(compilations + 1)
  })

  it('at strength 0 gives every bit of what it gives where the site is only looked at', async () => {
    // Where nobody looks, the sum and the norm behind it are one operator, which rounds otherwise.
    const untouched = await logits(model, row(9), { [site]: (x) => x })
    expect(await logits(model, row(9), at(1, 0))).toEqual(untouched)
    allClose(untouched, await logits(model, row(9)), { ...rounding, name: 'fused' })
  })

  it('steers every token of a cached generation, alone and in a batch', async () => {
    const edit = at(2, 1.5)
    const prompts = [row(6, 1), row(3, 2)]
    const texts = await complete(model, prompts, { ...greedy, logprobs: 0 }, { edit })
    const plain = await complete(model, prompts, greedy)
    expect(texts.map(({ tokens }) => tokens)).not.toEqual(plain.map(({ tokens }) => tokens))
    for (const [i, { tokens, logprobs }] of texts.entries()) {
      const [alone] = await complete(model, [prompts[i]!], greedy, { edit })
      expect(alone!.tokens).toEqual(tokens)
      // The whole row without a cache: the log-probability of each token, with the same edit and with none.
      const whole = [...prompts[i]!, ...tokens]
      const scores = async (taps: { edit?: Edits }): Promise<Float32Array> =>
        floats(await model.score([whole], taps)).slice(prompts[i]!.length - 1)
      const own = Float32Array.from(logprobs!, ({ logprob }) => logprob)
      allClose(own, await scores({ edit }), { ...rounding, name: `row ${i}` })
      const without = await scores({})
      expect(own.every((x, t) => Math.abs(x - without[t]!) > 1e-5)).toBe(true)
    }
  })

  it('applies several edits of a site in their order', async () => {
    const double: EditWithArguments = { apply: scaled, args: { factor: scalar(2) } }
    const first = await logits(model, row(5), { [site]: [double, shifted] })
    const second = await logits(model, row(5), { [site]: [shifted, double] })
    const expected = await logits(model, row(5), { [site]: (x: Tensor) => x.mul(2).add(1) })
    allClose(first, expected, { ...rounding, name: 'doubled, then shifted' })
    const other = await logits(model, row(5), { [site]: (x: Tensor) => x.add(1).mul(2) })
    allClose(second, other, { ...rounding, name: 'shifted, then doubled' })
    expect(await logits(model, row(5), { [site]: [] })).toEqual(await logits(model, row(5)))
  })

  it('holds edits of a model in every pass, before those of the pass', async () => {
    const own = model.edited(at(1, 2))
    const joined: Edits = { [site]: [steered(vectorOf(width, 1), 2), shifted] }
    expect(await logits(own, row(5))).toEqual(await logits(model, row(5), at(1, 2)))
    expect(await logits(own, row(5), { [site]: shifted })).toEqual(await logits(model, row(5), joined))
    expect(await scoreTokens(own, row(5))).toEqual([
      ...floats(await model.score([row(5)], { edit: at(1, 2) })),
    ])
    const { compilations } = model
    // Another view with other arguments, in the place of those it had.
    expect(await logits(own.edited(at(1, -1)), row(5))).toEqual(await logits(model, row(5), at(1, -1)))
    expect(model.compilations).toBe(compilations)
    expect(await logits(own.edited({}), row(5))).toEqual(await logits(model, row(5)))
  })

  it.each(['f32', 'int8', 'int4'] as const)('exchanges arguments of a sealed model: %s', async (weights) => {
    const plain = seal(model, { weights, edit: { [site]: (x) => x } })
    const sealed = seal(model, { weights, edit: at(1, 0) })
    expect(await logits(sealed, row(6))).toEqual(await logits(plain, row(6)))
    const { compilations } = sealed
    for (const strength of [1, -2]) {
      const vector = vectorOf(width, 3)
      const constant = seal(model, { weights, edit: { [site]: (x: Tensor) => x.add(vector.mul(strength)) } })
      const view = sealed.edited(at(3, strength))
      const name = `${weights} x ${strength}`
      allClose(await logits(view, row(6)), await logits(constant, row(6)), { ...rounding, name })
      const [own] = await complete(view, [row(6)], greedy)
      const [same] = await complete(constant, [row(6)], greedy)
      expect(own!.tokens).toEqual(same!.tokens)
      constant.dispose()
    }
    // The program that generates has come once.
    expect(sealed.compilations).toBe(compilations + 1)
    expect(() => sealed.edited({ [site]: shifted })).toThrow(/keeps the edits that it was sealed with/)
    expect(() => sealed.edited({})).toThrow(/keeps the edits/)
    await expect(logits(sealed, row(6), at(1, 1))).rejects.toThrow(/other arguments for them with `edited`/)
    plain.dispose()
    sealed.dispose()
  })

  it('goes on from a cache of equal arguments alone', async () => {
    const promptCache = new PromptCache()
    const run = async (edit: Edits): Promise<number> => {
      const [expected] = await complete(model, [row(9)], greedy, { edit })
      const [answer] = await complete(model, [row(9)], greedy, { edit, promptCache })
      expect(answer!.tokens).toEqual(expected!.tokens)
      return promptCache.reused
    }
    // A state cannot be taken back to the end of the prompt.
    const all = name.endsWith('mamba') ? 0 : 8
    await run(at(1, 1))
    // New tensors of the same values.
    expect(await run(at(1, 1))).toBe(all)
    expect(await run(at(1, 2))).toBe(0)
    expect(await run(at(2, 2))).toBe(0)
    expect(await run({ [site]: [steered(vectorOf(width, 2), 2), shifted] })).toBe(0)
    expect(await run({})).toBe(0)
  })

  it('names what is wrong with arguments', async () => {
    const wrong = { apply: along, args: { vector: vectorOf(width, 1), strength: 2 as never } }
    await expect(logits(model, row(3), { [site]: wrong })).rejects.toThrow(
      /hook_resid_post\.0\.strength' there is a number/,
    )
    await expect(logits(model, row(3), { [site]: steered(vectorOf(width + 1, 1), 1) })).rejects.toThrow(
      new RegExp(`${width + 1}`),
    )
    expect(vocab).toBeGreaterThan(0)
  })
})

describe('other kinds of models', () => {
  it('an encoder', async () => {
    const model = Encoder.open(fixture('families/bert'), engine)
    const site = 'blocks.0.hook_resid_post'
    const run = async (edit: Edits): Promise<Float32Array> =>
      floats((await model.run([[5, 6, 7]], { edit })).last_hidden_state)
    const width = model.spec.width
    const own = await run({ [site]: steered(vectorOf(width, 1), 2) })
    const vector = vectorOf(width, 1)
    allClose(own, await run({ [site]: (x) => x.add(vector.mul(2)) }), { ...rounding, name: 'encoder' })
    expect(await run({ [site]: steered(vector, 0) })).toEqual(await run({}))
  })

  it('an encoder-decoder, on both sides', async () => {
    const model = Seq2Seq.open(fixture('families/t5'), engine)
    const { width } = model.spec
    const places = ['encoder.blocks.0.hook_resid_post', 'decoder.blocks.0.hook_resid_post']
    const edits = (strength: number): Edits =>
      Object.fromEntries(places.map((site, i) => [site, steered(vectorOf(width, i + 1), strength)]))
    const constants: Edits = Object.fromEntries(
      places.map((site, i) => [site, (x: Tensor) => x.add(vectorOf(width, i + 1).mul(2))]),
    )
    const run = async (edit: Edits): Promise<Float32Array> =>
      floats((await model.run([[5, 6, 7]], [[0, 4]], { edit })).logits)
    allClose(await run(edits(2)), await run(constants), { ...rounding, name: 'encoder-decoder' })
    expect(await run(edits(0))).toEqual(await run({}))
    const [own] = await complete(model, [[5, 6, 7]], greedy, { edit: edits(2) })
    const [same] = await complete(model, [[5, 6, 7]], greedy, { edit: constants })
    expect(own!.tokens).toEqual(same!.tokens)
  })
})
