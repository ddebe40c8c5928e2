/**
 * Distillation: a student learns what a frozen teacher would say, beside the text itself (Hinton et al. 2015,
 * https://arxiv.org/abs/1503.02531), and what it thinks (`hiddenStates.ts`).
 *
 *   p = softmax(teacher / T), q = softmax(student / T)
 *   loss = hard · −log q₁(x[t+1]) + (1 − hard) · T² · D(p, q) + hidden.weight · H
 *
 * D is `forward`: KL(p ‖ q); `reverse`: KL(q ‖ p) (Gu et al. 2023); `jensen-shannon`: their mean against (p + q) / 2.
 * q₁ is the student at temperature 1. Batches as in next-token prediction; every target that counts counts in all
 * terms. The models share a vocabulary; their widths and depths may differ.
 */
import * as z from 'zod'
import { crossEntropy, logSoftmax, type Tensor } from '../../array/index.ts'
import { forward } from '../../model/decoder.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec, Linear } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Objective } from '../objective.ts'
import { checkPairs, hiddenLoss, hiddenSchema } from './hiddenStates.ts'
import type { TokenBatch } from './nextToken.ts'
import { counted, rowAxes } from './reading.ts'

export const distillationSchema = z.strictObject({
  divergence: z.enum(['forward', 'reverse', 'jensen-shannon']).default('forward'),
  temperature: z.number().positive().default(1).describe('T, of both models in the divergence'),
  hard: z.number().min(0).max(1).default(0.5).describe('Share of the loss on the text itself'),
  hidden: hiddenSchema.optional().describe('Hidden states to match, too'),
})

export interface StudentParts {
  readonly student: DecoderParams
  /** For each pair of layers, from the student's width to the teacher's. */
  readonly projections?: readonly Linear[] | undefined
}
export interface DistilledParts extends StudentParts {
  readonly teacher: DecoderParams
}

const divergences: Readonly<Record<string, (logp: Tensor, logq: Tensor) => Tensor>> = {
  forward: (logp, logq) => relativeEntropy(logp, logq),
  reverse: (logp, logq) => relativeEntropy(logq, logp),
  'jensen-shannon': (logp, logq) => {
    // log((p + q) / 2), without leaving logarithms.
    const larger = logp.maximum(logq).stopGradient()
    const middle = logp.sub(larger).exp().add(logq.sub(larger).exp()).mul(0.5).log().add(larger)
    return relativeEntropy(logp, middle).add(relativeEntropy(logq, middle)).mul(0.5)
  },
}

/** KL(p ‖ q) over the last axis, in nats. */
const relativeEntropy = (logp: Tensor, logq: Tensor): Tensor => logp.exp().mul(logp.sub(logq)).sum(-1)

export function distillation(
  spec: DecoderSpec,
  teacherSpec: DecoderSpec,
  { divergence, temperature, hard, hidden }: z.output<typeof distillationSchema>,
): Objective<DistilledParts, TokenBatch> {
  if (spec.vocab !== teacherSpec.vocab)
    throw new Error(
      `distillation: the teacher has ${teacherSpec.vocab} tokens, the student ${spec.vocab}: they need one vocabulary`,
    )
  if (hidden) checkPairs(hidden, spec, teacherSpec)
  const [rotary, teacherRotary] = [rotaryTables(spec), rotaryTables(teacherSpec)]
  const apart = divergences[divergence]!
  return {
    id: 'distillation',
    axes: rowAxes,
    loss({ student, teacher, projections }, { tokens, mask }) {
      const input = { tokens: tokens.slice(1, 0, -1) }
      const own = new Taps(spec, { read: hidden?.layers.map(([layer]) => siteOf(layer)) ?? [] })
      const theirs = new Taps(teacherSpec, { read: hidden?.layers.map(([, layer]) => siteOf(layer)) ?? [] })
      const { logits } = forward(spec, student, input, rotary, own)
      const taught = forward(teacherSpec, teacher, input, teacherRotary, theirs).logits
      const counts = mask?.slice(1, 1)
      const hardLosses = crossEntropy(logits, tokens.slice(1, 1))
      const softLosses = apart(
        logSoftmax(taught.mul(1 / temperature)),
        logSoftmax(logits.mul(1 / temperature)),
      )
      let losses = hardLosses.mul(hard).add(softLosses.mul((1 - hard) * temperature ** 2))
      const parts: Record<string, Tensor> = { hardLoss: hardLosses, divergence: softLosses }
      if (hidden) {
        const [mine, given] = [own.finish(), theirs.finish()]
        const pairs = hidden.layers.map(([from, to]) => [mine[siteOf(from)]!, given[siteOf(to)]!] as const)
        const matched = hiddenLoss(hidden, pairs, projections)
        losses = losses.add(matched.mul(hidden.weight))
        parts.hiddenLoss = matched
      }
      return {
        ...counted(losses, counts),
        metrics: Object.fromEntries(
          Object.entries(parts).map(([name, values]) => [name, counted(values, counts).sum]),
        ),
      }
    },
  }
}

const siteOf = (layer: number): string => `blocks.${layer}.hook_resid_post`
