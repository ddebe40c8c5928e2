/** A model with another vocabulary: rows that are means of the old ones, and layers that compute what they did. */
import { afterAll, expect, it } from 'vitest'
import type { Tensor } from '../../src/array/index.ts'
import { type DecoderSpec, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { loadTokenizer } from '../../src/text/index.ts'
import { initialize } from '../../src/train/index.ts'
import { transferVocabulary } from '../../src/train/transferVocabulary.ts'
import { allClose, tolerance } from '../reference.ts'
import { tinyLlamaWith } from '../tinyLlama.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const [old, ours] = [loadTokenizer('models/starter'), loadTokenizer('models/tokenizer')]

const from = tinyLlamaWith(old.vocabSize)
const params = initialize(from.spec, { seed: 5, deviation: 0.3, names: from.names })
const to = tinyLlamaWith(ours.vocabSize)
const rowsOf = (table: unknown): ((row: number) => number[]) => {
  const { data, sizes } = table as Tensor
  const width = sizes[1]!
  return (row) => [...(data as Float32Array).slice(row * width, (row + 1) * width)]
}

it('gives a token the mean of the pieces that spell it', () => {
  const made = transferVocabulary(
    params,
    { spec: from.spec, tokenizer: old },
    { spec: to.spec, tokenizer: ours },
  )
  const [given, got] = [rowsOf(params.embed), rowsOf(made.embed)]
  expect((made.embed as Tensor).sizes).toEqual([ours.vocabSize, from.spec.width])
  let several = 0
  for (const word of [' Once', ' girl', ' happily', '.', '\n', ' mischievous', 'z']) {
    const token = ours.encode(word, { addSpecialTokens: false }).ids[0]!
    const text = ours.decode([token], { skipSpecialTokens: false })
    const pieces = old.encode(text, { addSpecialTokens: false }).ids
    if (pieces.length > 1) several++
    const mean = given(0).map((_, i) =>
      pieces.reduce((sum, piece) => sum + given(piece)[i]! / pieces.length, 0),
    )
    allClose(got(token), mean, tolerance.f32)
  }
  expect(several).toBeGreaterThan(1)
  expect(got(ours.bos!)).toEqual(given(old.bos!))
  // All else is as it was.
  expect(made.blocks).toEqual(params.blocks)
})

it('turns the rows of queries and keys where the order of rotary pairs differs', async () => {
  const neighbours = {
    ...from.spec,
    position: { ...from.spec.position, interleaved: true },
  } as DecoderSpec
  const reader = { spec: neighbours, tokenizer: old }
  const turned = transferVocabulary(params, reader, { spec: from.spec, tokenizer: old })
  const tokens = [Array.from({ length: 12 }, (_, i) => (7 * i + 3) % old.vocabSize)]
  const logits = async (spec: DecoderSpec, given: typeof params) => {
    const { logits: found } = await new Model({ engine, spec, params: given }).run(tokens)
    return (await found!.load()) as Float32Array
  }
  // With the rows of before: not every piece of a tokenizer is what it makes of the piece's text.
  allClose(
    await logits(from.spec, { ...turned, embed: params.embed }),
    await logits(neighbours, params),
    tolerance.f32,
  )
})

it('refuses layers that would compute something else', () => {
  const base = { ...to.spec.position, base: 500_000 }
  const other = { ...to.spec, position: base } as DecoderSpec
  const reader = { spec: from.spec, tokenizer: old }
  expect(() => transferVocabulary(params, reader, { spec: other, tokenizer: ours })).toThrow(
    /'position' is .*500000.*, and was .*10000/,
  )
})
