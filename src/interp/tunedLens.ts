/**
 * The tuned lens: an affine translator for the stream after each number of blocks, trained to say what the model says
 * (Belrose et al. 2023, https://arxiv.org/abs/2303.08112).
 *
 *   lens(h) = head(norm(h + W h + b));   loss = Σ over layers of KL(softmax(final logits) ‖ softmax(lens(h)))
 *
 * averaged over positions. W and b begin at 0: the untrained lens is the logit lens, and weight decay pulls towards it. As
 * in the authors' code: SGD with Nesterov momentum 0.9, rate 0.1 (theirs is 1 times 1 − momentum) falling linearly to 0,
 * decay 0.001 on weights and biases, the gradient clipped to norm 1. They take 250 steps of 262,144 tokens; the default
 * here is a hundredth of that.
 */
import * as z from 'zod'
import { checkpoint, logSoftmax, size, sizeOf, type Tensor, zeros } from '../array/index.ts'
import { method } from '../method/index.ts'
import { type AdapterTree, applyAdapters } from '../model/adapters.ts'
import { forward } from '../model/decoder.ts'
import type { DecoderParams, DecoderSpec, Model } from '../model/index.ts'
import { rotaryTables } from '../model/parts/position.ts'
import { Taps } from '../model/taps.ts'
import {
  type Batches,
  type Objective,
  PackedBatches,
  sgd,
  type TokenBatch,
  type TokenSource,
  Trainer,
} from '../train/index.ts'
import { type Lens, type Translator, translate } from './lens.ts'
import { readOut, rowLength, streamSites } from './streams.ts'

export const tunedLensSchema = z.strictObject({
  steps: z.int().positive().default(250).describe('Steps of training'),
  batch: z.int().positive().default(16).describe('Rows of a step'),
  length: z
    .int()
    .min(2)
    .optional()
    .describe('Tokens of a row; 128 by default, or as many as the model takes'),
  rate: z.number().positive().default(0.1).describe('Learning rate of the first step; it falls to 0'),
  momentum: z.number().min(0).lt(1).default(0.9).describe('Nesterov momentum'),
  decay: z.number().nonnegative().default(0.001).describe('Weight decay, towards the logit lens'),
  seed: z.int().nonnegative().default(0).describe('Of the order of the text'),
})
export type TunedLensOptions = z.input<typeof tunedLensSchema>

export interface TunedParts {
  readonly translators: readonly Translator[]
  readonly params: DecoderParams
}

/** Translators that change nothing. */
export const newTranslators = ({ layers, width }: DecoderSpec): Translator[] =>
  Array.from({ length: layers }, () => ({ weight: zeros([width, width]), bias: zeros([width]) }))

/** The loss above, and its part of each layer as a metric. All tokens of a row count. */
export function tunedLensObjective({
  spec,
  positions,
  taps,
}: Pick<Model, 'spec' | 'positions' | 'taps'>): Objective<TunedParts, TokenBatch> {
  const rotary = rotaryTables(spec, positions)
  const sites = streamSites(spec)
  return {
    id: 'tuned-lens',
    axes: ['batch', 'time'],
    loss({ translators, params }, { tokens }) {
      const own = new Taps(spec, { read: sites, edit: taps.edit ?? {} })
      const { logits } = forward(spec, params, { tokens }, rotary, own)
      const final = logSoftmax(logits)
      const reads = own.finish()
      // Each layer's logits are computed again in the backward pass: those of one layer are held at a time.
      const divergence = checkpoint((translator: Translator, h: Tensor): Tensor => {
        const logp = logSoftmax(readOut(spec, params, translate('tuned', translator, h)))
        return final.exp().mul(final.sub(logp)).sum()
      })
      const losses = translators.map((translator, layer) => divergence(translator, reads[sites[layer]!]!))
      return {
        sum: losses.reduce((sum, loss) => sum.add(loss)),
        weight: size(sizeOf(tokens.shape), 'f32'),
        metrics: Object.fromEntries(losses.map((loss, layer) => [`after ${layer}`, loss])),
      }
    },
  }
}

export interface TunedStep {
  readonly step: number
  readonly of: number
  /** KL in nats, the mean over layers. */
  readonly divergence: number
}

/** The training run of the options above, over batches of any kind. */
export function tunedLensTrainer(
  model: Model,
  batches: Batches<TokenBatch>,
  {
    steps,
    rate,
    momentum,
    decay,
  }: Pick<z.output<typeof tunedLensSchema>, 'steps' | 'rate' | 'momentum' | 'decay'>,
) {
  if (model.adapters.some(({ params }) => params.prompt))
    throw new Error('a soft prompt must be attached with `attach` before a lens is trained')
  type Frozen = { readonly params: DecoderParams; readonly adapters: readonly AdapterTree[] } | undefined
  // A sealed model's matrices are fast as constants of the program only.
  const frozen: Frozen = model.sealed ? undefined : { params: model.params, adapters: model.adapters }
  return new Trainer({
    engine: model.engine,
    model: {
      params: newTranslators(model.spec),
      frozen,
      assemble: (translators: Translator[], given: Frozen) => ({
        translators,
        params: given ? applyAdapters(given.params, given.adapters) : model.adaptedParams,
      }),
    },
    objective: tunedLensObjective(model),
    batches,
    optimizer: sgd({ momentum, nesterov: momentum > 0, weightDecay: decay, decays: 'all' }),
    rate: (step) => rate * (1 - step / steps),
    clip: 1,
  })
}

/** Trains a tuned lens on tokens. Throws the signal's reason where it stops the training. */
export async function trainTunedLens(
  model: Model,
  source: TokenSource['tokens'],
  options: TunedLensOptions = {},
  { onStep, signal }: { onStep?: (step: TunedStep) => void; signal?: AbortSignal | undefined } = {},
): Promise<Lens> {
  const read = tunedLensSchema.parse(options)
  const { steps, batch, seed } = read
  // Windows come with the token behind them, which is read here too.
  const length = rowLength(model, read.length) - 1
  const batches = new PackedBatches({ sources: [{ tokens: source }], batch, length, seed })
  using trainer = tunedLensTrainer(model, batches, read)
  for (let step = 1; step <= steps; step++) {
    signal?.throwIfAborted()
    const { loss } = await trainer.next()
    onStep?.({ step, of: steps, divergence: loss / model.spec.layers })
  }
  return { kind: 'tuned', translators: trainer.params }
}

export default method({
  id: 'tuned-lens',
  title: 'Tuned lens',
  socket: 'lens',
  source: 'Belrose et al. 2023, https://arxiv.org/abs/2303.08112',
  summary: 'An affine translator for each layer, trained to predict what the last layer predicts.',
  options: tunedLensSchema,
  make: (options) => (model: Model, tokens: TokenSource['tokens'], signal?: AbortSignal) =>
    trainTunedLens(model, tokens, options, { signal }),
})
