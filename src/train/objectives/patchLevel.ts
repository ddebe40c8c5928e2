/**
 * Patch-level training (Shao, Meng and Zhou 2024, https://arxiv.org/abs/2407.12665): the model reads patches of K tokens
 * as one position and predicts all K tokens of the next patch.
 *
 *   p[i] = 1/K Σ_k E[x[iK + k]],   loss = mean over i and k of −log P(x[(i + 1) K + k] | p[..i])
 *
 * with one distribution for all K, from the model's own head. The first part of the data is learned so, at about 1/K
 * of the cost, the rest token by token (`nextToken`). K = 1 is next-token prediction.
 *
 * batch.tokens i32 [batch, T]: T − T mod K tokens are read. The mask counts targets, as in next-token prediction.
 */
import * as z from 'zod'
import { crossEntropy, size, sizeOf } from '../../array/index.ts'
import { method } from '../../method/index.ts'
import { embed, forward } from '../../model/decoder.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Objective } from '../objective.ts'
import type { TokenBatch } from './nextToken.ts'

export const patchLevelSchema = z.strictObject({
  patch: z.int().positive().default(4).describe('Tokens of a patch'),
})

export function patchLevel(
  spec: DecoderSpec,
  { patch }: z.output<typeof patchLevelSchema>,
): Objective<DecoderParams, TokenBatch> {
  const rotary = rotaryTables(spec)
  return {
    id: 'patch-level',
    // The length is fixed, so that it can be divided.
    axes: ['batch', null],
    loss(params, { tokens, mask }) {
      const [batch, time] = tokens.shape as [never, number]
      const patches = Math.floor(time / patch)
      if (patches < 2)
        throw new RangeError(`patch-level: rows of ${time} tokens have no two patches of ${patch}`)
      const inputs = tokens.slice(1, 0, (patches - 1) * patch)
      const each = embed(spec, params, inputs)
      const embeddings =
        patch === 1 ? each : each.reshape([batch, patches - 1, patch, each.shape.at(-1)!]).mean(2)
      const { logits } = forward(spec, params, { embeddings }, rotary, new Taps(spec))
      // One row of logits for the K tokens of the next patch.
      const shape = [batch, patches - 1, patch] as const
      const targets = tokens.slice(1, patch, patches * patch).reshape(shape)
      const losses = crossEntropy(logits.expandDims(2).broadcastTo([...shape, spec.vocab]), targets)
      if (!mask) return { sum: losses.sum(), weight: size(sizeOf(losses.shape), 'f32') }
      const counts = mask.slice(1, patch, patches * patch).reshape(shape)
      return { sum: losses.mul(counts).sum(), weight: counts.sum() }
    },
  }
}

export default method({
  id: 'patch-level',
  title: 'Patch-level training',
  socket: 'objective',
  paper: 63,
  source: 'Shao, Meng and Zhou 2024, https://arxiv.org/abs/2407.12665',
  summary: 'The model reads the mean embedding of K tokens as one position and predicts the next K tokens.',
  options: patchLevelSchema,
  make: (options) => (spec: DecoderSpec) => patchLevel(spec, options),
})
