/** Features: their strongest contexts are those of a plain search, their logit effects those of the head's rows. */
import { afterAll, expect, test } from 'vitest'
import { tensor, zeros } from '../../src/array/index.ts'
import { logitEffects, type Sae, topContexts } from '../../src/interp/sae/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tinyCorpus, tinyModel } from './tiny.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = tinyModel(engine)
const tokens = tinyCorpus(600)
const site = 'blocks.1.hook_resid_post'

/** Feature i is what is positive of number i. */
const sae: Sae = {
  config: {
    ...{ architecture: 'standard', dIn: 16, dOut: 16, dSae: 16, transcoder: false, subtractBias: false },
    ...{ normalize: 'none', site },
  },
  params: {
    W_enc: tensor(
      Float32Array.from({ length: 256 }, (_, i) => Number(i % 17 === 0)),
      [16, 16],
    ),
    W_dec: tensor(
      Float32Array.from({ length: 256 }, (_, i) => Number(i % 17 === 0)),
      [16, 16],
    ),
    b_enc: zeros([16]),
    b_dec: zeros([16]),
  },
}

test('contexts are the windows with the largest activations', async () => {
  const found = await topContexts({
    ...{ model, sae, tokens, features: [3, 11], length: 20, windows: 4, top: 3, exclude: [0] },
  })
  for (const { feature, density, contexts } of found) {
    const windows = Array.from({ length: 30 }, (_, i) => [...tokens.subarray(i * 20, (i + 1) * 20)])
    const read = (await model.run(windows, { read: [site] }))[site]!.data as Float32Array
    const activations = windows.map((row, i) =>
      row.map((id, t) => (id === 0 ? 0 : Math.max(0, read[(i * 20 + t) * 16 + feature]!))),
    )
    const best = activations.map((row) => Math.max(...row)).sort((a, b) => b - a)
    expect(contexts.length).toBe(3)
    contexts.forEach(({ activation, at, tokens: ids, activations: own }, i) => {
      expect(activation).toBeCloseTo(best[i]!, 5)
      const window = windows.findIndex((row) => row.every((id, t) => id === ids[t]))
      own.forEach((value, t) => {
        expect(value).toBeCloseTo(activations[window]![t]!, 5)
      })
      expect(own[at]).toBe(activation)
    })
    const flat = activations.flat()
    const counted = windows.flat().filter((id) => id !== 0).length
    expect(density).toBeCloseTo(flat.filter((value) => value > 0).length / counted, 6)
  }
  await expect(topContexts({ model, sae, tokens, features: [16] })).rejects.toThrow(
    /no feature 16: the SAE has 16/,
  )
})

test('logit effects are the rows of the head along the direction, through the norm', async () => {
  const [{ up, down }] = (await logitEffects(model, sae, [5], 4)) as [
    Awaited<ReturnType<typeof logitEffects>>[number],
  ]
  const head = model.params.embed as { data: Float32Array } | { weight: unknown }
  const gain = (model.params.lnFinal!.weight!.data as Float32Array)[5]!
  // A direction of one number: its RMS is 1/4, so the norm makes it 4.
  const column = Array.from(
    { length: 50 },
    (_, id) => 4 * gain * (head as { data: Float32Array }).data[id * 16 + 5]!,
  )
  const mean = column.reduce((a, b) => a + b) / 50
  const order = column.map((_, id) => id).sort((a, b) => column[b]! - column[a]!)
  expect(up.map(({ token }) => token)).toEqual(order.slice(0, 4))
  expect(down.map(({ token }) => token)).toEqual(order.slice(-4).reverse())
  for (const { token, logit } of [...up, ...down]) expect(logit).toBeCloseTo(column[token]! - mean, 3)
})
