/**
 * Contrastive learning of embeddings: each text is to be nearer to its own positive than to everything else in the
 * batch (InfoNCE, van den Oord et al. 2018; with hard negatives as in supervised SimCSE, Gao et al. 2021,
 * https://arxiv.org/abs/2104.08821).
 *
 *   loss = mean over i of −log( e^(s(a_i, p_i)/τ) / Σ_j (e^(s(a_i, p_j)/τ) + e^(s(a_i, n_j)/τ)) ),  s the cosine
 *
 * anchors, positives and, where they are given, negatives: rows of tokens i32 [batch, T] with masks f32 [batch, T] (1
 * for tokens, 0 for the padding at the end), all padded to one T. An embedding is the mean of the final states, or
 * the last token's. `both` adds the direction from positives to anchors and halves the sum (as CLIP).
 */
import * as z from 'zod'
import { concat, crossEntropy, type Tensor } from '../../array/index.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import type { Objective } from '../objective.ts'
import { correct, counted, pooled, rowAxes, rowNumbers } from './reading.ts'

export const contrastiveSchema = z.strictObject({
  temperature: z.number().positive().default(0.05).describe('τ'),
  pooling: z.enum(['mean', 'last']).default('mean').describe('The embedding of a text'),
  sees: z
    .enum(['past', 'all'])
    .default('past')
    .describe('What a token sees: those before it, or the whole row'),
  both: z.boolean().default(false).describe('From positives to anchors, too'),
})

export interface TextRows {
  readonly tokens: Tensor
  readonly mask?: Tensor | undefined
}

export interface ContrastiveBatch {
  readonly anchors: TextRows
  readonly positives: TextRows
  /** One hard negative of each anchor; those of the others are negatives too. */
  readonly negatives?: TextRows | undefined
}

/** Vectors of length 1 along the last axis. */
export const unit = (x: Tensor): Tensor => x.div(x.mul(x).sum(-1, { keep: true }).add(1e-24).sqrt())

export function contrastive(
  spec: DecoderSpec,
  { temperature, pooling, sees, both }: z.output<typeof contrastiveSchema>,
): Objective<DecoderParams, ContrastiveBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'contrastive',
    axes: { anchors: rowAxes, positives: rowAxes, negatives: rowAxes },
    loss(params, { anchors, positives, negatives }) {
      const texts = [anchors, positives, ...(negatives ? [negatives] : [])]
      const masks = texts.flatMap(({ mask }) => (mask ? [mask] : []))
      if (masks.length !== 0 && masks.length !== texts.length)
        throw new Error('contrastive: give masks to all of anchors, positives and negatives, or to none')
      const joined = {
        tokens: joinRows(texts.map(({ tokens }) => tokens)),
        mask: masks.length > 0 ? joinRows(masks) : undefined,
      }
      // One pass for all: [2 batch or 3 batch, width].
      const embeddings = unit(pooled(reader, params, joined, { pooling, sees }))
      const own = rowNumbers(anchors.tokens)
      const batch = anchors.tokens.shape[0]!
      const [from, to] = [embeddings.slice(0, 0, batch), embeddings.slice(0, batch)]
      const similarity = from.matmul(to, { transposeB: true, alpha: 1 / temperature })
      const losses = crossEntropy(similarity, own)
      const metrics = { accuracy: correct(similarity, own).sum() }
      if (!both) return { ...counted(losses, undefined), metrics }
      const back = crossEntropy(similarity.slice(1, 0, batch).transpose(), own)
      return { ...counted(losses.add(back).mul(0.5), undefined), metrics }
    },
  }
}

const joinRows = (parts: readonly Tensor[]): Tensor => concat(parts as [Tensor, ...Tensor[]], 0)
