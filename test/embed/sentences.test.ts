/** Sentence vectors against the PyTorch port of the encoders; see test/fixtures/README.md. */
import { afterAll, describe, expect, it } from 'vitest'
import { sentenceVectors } from '../../src/embed/index.ts'
import { Encoder } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const folder = fixture('families/minilm-pooler')
const encoder = Encoder.open(folder, engine)
const reference = readReference(folder)
const computed = readReference(folder, 'gradients.safetensors')
const { width } = encoder.spec
const all = [...reference.get('tokens')!.data]
/** 12 tokens, and 8 with padding. */
const texts = [all.slice(0, 12), all.slice(12, 20)]
const expected = {
  mean: computed.get('sentence.mean')!,
  first: computed.get('sentence.first')!,
  pooler: reference.get('pooled')!,
}

describe('sentence vectors', () => {
  it.each(['mean', 'first', 'pooler'] as const)('%s: together, alone, and in any order', async (pooling) => {
    const rows = [0, 1].map((i) => expected[pooling].data.slice(i * width, (i + 1) * width))
    for (const batch of [1, 32])
      for (const order of [
        [0, 1],
        [1, 0, 1],
      ]) {
        const vectors = await sentenceVectors(
          encoder,
          order.map((i) => texts[i]!),
          { pooling, batch },
        )
        expect(vectors).toHaveLength(order.length)
        for (const [at, i] of order.entries())
          allClose(vectors[at]!, rows[i]!, { ...tolerance.f32, name: pooling })
      }
  })

  it('can have length 1', async () => {
    const [vector] = await sentenceVectors(encoder, [texts[1]!], { normalize: true })
    const raw = expected.mean.data.slice(width, 2 * width)
    const length = Math.sqrt([...raw].reduce((sum, x) => sum + x * x, 0))
    allClose(
      vector!,
      [...raw].map((x) => x / length),
      tolerance.f32,
    )
  })

  it('refuses what it cannot do, by name', async () => {
    await expect(sentenceVectors(encoder, ['a text'])).rejects.toThrow('has no tokenizer')
    await expect(sentenceVectors(encoder, [[1, 2], []])).rejects.toThrow('text 1 has no tokens')
    await expect(sentenceVectors(encoder, [new Array(40).fill(3)])).rejects.toThrow(
      'text 0 has 40 tokens, but the model has 32',
    )
    await expect(sentenceVectors(encoder, [[64]])).rejects.toThrow('outside the vocabulary')
    const bare = Encoder.open(fixture('families/bert'), engine)
    await expect(sentenceVectors(bare, [[3]], { pooling: 'pooler' })).rejects.toThrow('has no pooler')
    await expect(sentenceVectors(encoder, [[3]], { pooling: 'max' as 'mean' })).rejects.toThrow('pooling')
  })
})
