/** Training an LM-Steer on texts of a style and of its opposite. */

import type { Model } from '../model/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { TrainingTokens } from '../train/data/encode.ts'
import { paddedLabels } from '../train/data/padded.ts'
import { adamw, Trainer } from '../train/index.ts'
import {
  type NewSteerOptions,
  newWordSteer,
  overModel,
  type Projectors,
  stanceLoss,
  type WordSteer,
} from './wordSteer.ts'

export interface StanceText {
  readonly text: string
  /** +1 for the style, −1 against it, or between them. */
  readonly label: number
}

export interface FitSteerOptions extends NewSteerOptions {
  /** The paper: 1000 steps of 32 texts, rate 0.01. */
  readonly steps?: number
  readonly batch?: number
  readonly rate?: number
  /** Most tokens of a text; longer ones are cut. */
  readonly length?: number
  /** Of the sum of squares; the paper takes 1e-6 for sentiment. */
  readonly regularization?: number
  readonly signal?: AbortSignal | undefined
  readonly onStep?: (step: number, loss: number, tokens: number) => void
}

/** Texts as rows of tokens with their labels; a text ends as the model's texts do. */
export function stanceRows(
  { tokenizer, path }: Pick<Model, 'tokenizer' | 'path'>,
  texts: readonly StanceText[],
): (TrainingTokens & { readonly label: number })[] {
  if (!tokenizer) throw new Error(`${path} has no tokenizer, which texts need`)
  return texts.map(({ text, label }, i) => {
    const { ids } = tokenizer.encode(text)
    if (ids.length < 2)
      throw new Error(`text ${i + 1} has ${ids.length} tokens: it takes two for one to predict the other`)
    return { tokens: ids, trained: ids.map((id, at) => at > 0 || id !== tokenizer.bos), label }
  })
}

/** Trains a steer with Adam over the model as it is. Deterministic in the seed. */
export async function fitWordSteer(
  engine: Engine,
  model: Model,
  texts: readonly StanceText[],
  options: FitSteerOptions = {},
): Promise<WordSteer> {
  const { steps = 1000, batch = 32, rate = 1e-2, length = 256, regularization = 1e-6, seed = 0 } = options
  const labels = new Set(texts.map(({ label }) => Math.sign(label)))
  if (!labels.has(1) || !labels.has(-1))
    throw new Error('a steer needs texts of both kinds: labels above and below 0')
  const start = newWordSteer(model.spec, options, model.path.replace(/^.*[/\\]/, ''))
  const rows = stanceRows(model, texts)
  const rowBatches = await paddedLabels(
    { length: rows.length, at: (i) => rows[i]! },
    { batch, length: Math.min(length, model.context), tooLong: 'cut', seed },
  )
  using trainer = new Trainer({
    engine,
    model: overModel(model.params, start),
    objective: stanceLoss(model.spec, start, regularization),
    batches: {
      async at(step) {
        const { tokens, mask, labels } = await rowBatches.at(step)
        return { tokens, mask, labels }
      },
    },
    optimizer: adamw({ weightDecay: 0 }),
    rate: () => rate,
    seed,
  })
  for (let i = 0; i < steps; i++) {
    options.signal?.throwIfAborted()
    const { step, loss, weight } = await trainer.next()
    options.onStep?.(step, loss, weight)
  }
  return { ...start, ...(await onHost(trainer.params)) }
}

async function onHost(params: Projectors): Promise<Projectors> {
  for (const tensor of Object.values(params) as Projectors['projector1'][]) await tensor.load()
  return params
}
