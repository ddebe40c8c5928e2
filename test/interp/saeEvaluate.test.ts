/** SAEs in a model: what they change, and the metrics of it, against the model's own runs. */
import { afterAll, expect, test } from 'vitest'
import { type Tensor, tensor, zeros } from '../../src/array/index.ts'
import { densityHistogram, evaluateSae, type Sae, saeEdits } from '../../src/interp/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tinyCorpus, tinyModel } from './tiny.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = tinyModel(engine)
const tokens = tinyCorpus(400)
const site = 'blocks.0.hook_resid_post'

/** ReLU(x) and ReLU(−x), put together again: `part` of each activation stays. */
function identity(width: number, part: number, place: Partial<Sae['config']> = { site }): Sae {
  const [encoder, decoder] = [new Float32Array(2 * width * width), new Float32Array(2 * width * width)]
  for (let i = 0; i < width; i++) {
    encoder[i * 2 * width + i] = 1
    encoder[i * 2 * width + width + i] = -1
    decoder[i * width + i] = part
    decoder[(width + i) * width + i] = -part
  }
  return {
    config: {
      architecture: 'standard',
      dIn: width,
      dOut: width,
      dSae: 2 * width,
      transcoder: false,
      subtractBias: false,
      normalize: 'none',
      ...place,
    },
    params: {
      W_enc: tensor(encoder, [width, 2 * width]),
      W_dec: tensor(decoder, [2 * width, width]),
      b_enc: zeros([2 * width]),
      b_dec: zeros([width]),
    },
  }
}

test('an SAE that loses nothing scores 1, one that gives nothing 0', async () => {
  const whole = (await evaluateSae({ model, sae: identity(16, 1), tokens, length: 20 })).metrics
  expect(whole.explained_variance).toBeCloseTo(1, 5)
  expect(whole.ce_loss_score).toBeCloseTo(1, 4)
  expect(whole.kl_div_with_sae).toBeCloseTo(0, 5)
  expect(whole.cossim).toBeCloseTo(1, 5)
  expect(whole.l0).toBeCloseTo(16, 5)
  expect(whole.dead_features).toBe(0)
  expect(whole.tokens).toBe(400)
  const nothing = (await evaluateSae({ model, sae: identity(16, 0), tokens, length: 20 })).metrics
  expect(nothing.ce_loss_score).toBeCloseTo(0, 4)
  expect(nothing.kl_div_score).toBeCloseTo(0, 4)
  expect(nothing.ce_loss_with_ablation).toBeCloseTo(nothing.ce_loss_with_sae, 5)
})

test('metrics are those of the formulas, with tokens left out', async () => {
  const sae = identity(16, 0.7)
  // A token that begins windows, and is nowhere else.
  const [begin, exclude] = [49, [49]]
  const text = tokens.map((token) => (token === begin ? 1 : token))
  const { metrics, feature_density } = await evaluateSae({
    ...{ model, sae, tokens: text, length: 20, windows: 20, most: 400, begin, exclude },
  })
  const windows = Array.from({ length: 20 }, (_, i) => [begin, ...text.subarray(i * 19, (i + 1) * 19)])
  const reads = await model.run(windows, { read: [site] })
  const activations = reads[site]!.data as Float32Array
  const kept = windows.flat().map((token) => !exclude.includes(token))
  let [count, square, error, l1] = [0, 0, 0, 0]
  const mean = new Float64Array(16)
  kept.forEach((keep, row) => {
    if (!keep) return
    count++
    for (let j = 0; j < 16; j++) {
      const value = activations[row * 16 + j]!
      mean[j]! += value
      square += value * value
      error += (0.3 * value) ** 2
      l1 += Math.abs(value)
    }
  })
  const centre = mean.reduce((sum, value) => sum + (value / count) ** 2, 0)
  expect(metrics.tokens).toBe(count)
  expect(metrics.mse).toBeCloseTo(error / count, 4)
  expect(metrics.explained_variance).toBeCloseTo(1 - error / count / (square / count - centre), 5)
  expect(metrics.l1).toBeCloseTo(l1 / count, 4)
  expect(metrics.l2_ratio).toBeCloseTo(0.7, 5)
  expect(metrics.relative_reconstruction_bias).toBeCloseTo(0.7, 5)
  expect(feature_density.reduce((a, b) => a + b)).toBeCloseTo(16, 5)

  // Cross entropy of the model with the SAE where tokens count, and as it is elsewhere.
  const part = { [site]: (x: Tensor) => x.slice(1, 0, 1).concat([x.slice(1, 1).mul(0.7)], 1) }
  const crossEntropy = async (edit: Record<string, (x: Tensor) => Tensor>): Promise<number> => {
    const { logits } = await model.run(windows, { read: ['logits'], edit })
    let [sum, n] = [0, 0]
    windows.forEach((row, i) => {
      row.slice(1).forEach((target, t) => {
        if (!kept[i * 20 + t]) return
        const at = (i * 20 + t) * 50
        const values = (logits!.data as Float32Array).subarray(at, at + 50)
        sum += Math.log(values.reduce((total, value) => total + Math.exp(value), 0)) - values[target]!
        n++
      })
    })
    return sum / n
  }
  expect(metrics.ce_loss_without_sae).toBeCloseTo(await crossEntropy({}), 4)
  expect(metrics.ce_loss_with_sae).toBeCloseTo(await crossEntropy(part), 4)
  expect(metrics.ce_loss_with_ablation).toBeCloseTo(await crossEntropy({ [site]: (x) => x.mul(0) }), 4)
})

test('edits put an SAE, or a transcoder, into generation and runs', async () => {
  const rows = [[1, 2, 3, 4, 5, 6]]
  const read = ['logits']
  const plain = (await model.run(rows)).logits!.data as Float32Array
  const same = await model.run(rows, { read, edit: saeEdits(identity(16, 1)) })
  const close = (a: Float32Array, b: Float32Array, off = 1e-4): void => {
    for (const [i, value] of a.entries()) expect(Math.abs(value - b[i]!)).toBeLessThan(off)
  }
  close(same.logits!.data as Float32Array, plain)
  const heads = identity(16, 1, { site: 'blocks.1.attn.hook_z' })
  close((await model.run(rows, { read, edit: saeEdits(heads) })).logits!.data as Float32Array, plain)
  const none = await model.run(rows, { read, edit: saeEdits(identity(16, 1), (features) => features.mul(0)) })
  const zero = await model.run(rows, { read, edit: { [site]: (x) => x.mul(0) } })
  close(none.logits!.data as Float32Array, zero.logits!.data as Float32Array)
  // What the feed-forward part reads, in the place of what it gives.
  const [from, to] = ['blocks.0.ln2.hook_normalized', 'blocks.0.hook_mlp_out']
  const transcoder = identity(16, 1, { transcoder: true, site: from, siteOut: to })
  const replaced = await model.run(rows, { read: [...read, from, to], edit: saeEdits(transcoder) })
  close(replaced[to]!.data as Float32Array, replaced[from]!.data as Float32Array)
  const backwards = identity(16, 1, { transcoder: true, site: to, siteOut: from })
  await expect(model.run(rows, { read, edit: saeEdits(backwards) })).rejects.toThrow(/comes after/)
})

test('densities by their logarithm', () => {
  expect(densityHistogram([0, 0.1, 0.11, 0.001], 1)).toEqual([
    { from: -3, count: 1 },
    { from: -2, count: 0 },
    { from: -1, count: 2 },
  ])
  expect(densityHistogram([0])).toEqual([])
})
