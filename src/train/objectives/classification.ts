/**
 * Classification by a linear head on the decoder's final states: of whole rows, or of every token (Li et al. 2023,
 * "Label Supervised LLaMA Finetuning", https://arxiv.org/abs/2310.01208).
 *
 *   logits = W h + b;   loss = mean of −log softmax(logits)[label]
 *
 * `sequence`: h [batch, width] is the state of the row's last token, or the mean over its tokens; labels i32 [batch].
 * `token` (tagging): h is the state of every token; labels i32 [batch, T], where -100 does not count. batch.mask f32
 * [batch, T], where it is given, has 1 for tokens and 0 for the padding at the end. `sees: 'all'` leaves the causal
 * mask out (LS-unLLaMA), in all layers. The language model's own head is not used.
 *
 * Differs from the paper: what is trained (all, or adapters) is the trainer's choice.
 */
import * as z from 'zod'
import { crossEntropy, type Tensor } from '../../array/index.ts'
import { method } from '../../method/index.ts'
import { linear } from '../../model/parts/linear.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec, Linear } from '../../model/spec.ts'
import type { Objective } from '../objective.ts'
import { correct, counted, pooled, rowAxes, seeing, statesOf } from './reading.ts'

export const classificationSchema = z.strictObject({
  level: z
    .enum(['sequence', 'token'])
    .default('sequence')
    .describe('What has a label: a row, or every token'),
  pooling: z
    .enum(['last', 'mean'])
    .default('last')
    .describe('The state of a row: its last token, or the mean'),
  sees: z
    .enum(['past', 'all'])
    .default('past')
    .describe('What a token sees: those before it, or the whole row'),
})

export interface ClassifierParts {
  readonly decoder: DecoderParams
  /** weight [classes, width], bias [classes] */
  readonly head: Linear
}

export interface LabelledBatch {
  readonly tokens: Tensor
  readonly mask?: Tensor | undefined
  readonly labels: Tensor
}

/** The label of a token that does not count. */
const ignored = -100

export function classification(
  spec: DecoderSpec,
  { level, pooling, sees }: z.output<typeof classificationSchema>,
): Objective<ClassifierParts, LabelledBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'classification',
    axes: { tokens: rowAxes, mask: rowAxes, labels: level === 'token' ? rowAxes : ['batch'] },
    loss({ decoder, head }, { tokens, mask, labels }) {
      const states =
        level === 'token'
          ? statesOf(reader, decoder, tokens, seeing(sees, mask))
          : pooled(reader, decoder, { tokens, mask }, { pooling, sees })
      const logits = linear(states, head, 'out-in')
      const counts = level === 'token' ? labels.equal(ignored).not().cast('f32') : undefined
      // Labels that do not count still have to be in range.
      const targets = level === 'token' ? labels.maximum(0) : labels
      const hits = correct(logits, targets)
      return {
        ...counted(crossEntropy(logits, targets), counts),
        metrics: { accuracy: counted(hits, counts).sum },
      }
    },
  }
}

export default method({
  id: 'classification',
  title: 'Label-supervised classification',
  socket: 'objective',
  paper: 112,
  source: 'Li et al. 2023, https://arxiv.org/abs/2310.01208',
  summary: 'A linear label head on the final states, of rows or of tokens, with or without the causal mask.',
  options: classificationSchema,
  make: (options) => (spec: DecoderSpec) => classification(spec, options),
})
