/** A small change to a model that is there: an adapter (or all weights) trained on rows of a data set. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { leaves } from '../../array/index.ts'
import { type DecoderParams, load, Model } from '../../model/index.ts'
import { saveModel, tokenizerFilesOf } from '../../model/save.ts'
import type { Engine } from '../../onnx/index.ts'
import { type Adapter, ia3, lora, overFrozen, prefixTuning, promptTuning } from '../adapters/index.ts'
import { writeAdapter } from '../adapters/peft.ts'
import { encodeExamples, preferenceTokens, trainingTokens } from '../data/encode.ts'
import { type Format, formatOf } from '../data/formats.ts'
import { openRows } from '../data/open.ts'
import { padded, paddedPairs } from '../data/padded.ts'
import { split } from '../data/rows.ts'
import type { Row, Rows } from '../data/types.ts'
import type { Objective } from '../objective.ts'
import { dpo, nextToken, objectiveOptions, orpo, simpo } from '../objectives/index.ts'
import { makeOptimizer } from '../optimizers/index.ts'
import { makeSchedule } from '../schedules.ts'
import { type Batches, type Trainable, Trainer, wholly } from '../trainer.ts'
import { type RunOptions, type RunResult, run } from './run.ts'

const positive = z.int().positive()

export const adaptSchema = z.strictObject({
  kind: z
    .enum(['lora', 'dora', 'ia3', 'prefix', 'prompt', 'full'])
    .default('lora')
    .describe('What is trained: an adapter, or with full all weights'),
  rank: positive.default(8).describe('lora, dora: rank of the updates'),
  alpha: z.number().positive().default(16).describe('lora, dora: the updates are multiplied by alpha / rank'),
  target: z
    .array(z.string().min(1))
    .optional()
    .describe('lora, dora, ia3: modules by the end of their name, or all-linear'),
  rslora: z.boolean().default(false).describe('lora, dora: alpha / √rank'),
  virtualTokens: positive.default(16).describe('prefix, prompt: positions that are trained'),
  objective: z
    .enum(['next-token', 'dpo', 'orpo', 'simpo'])
    .optional()
    .describe('By the rows if not given: next-token, or dpo for pairs of answers'),
  beta: z.number().positive().optional().describe('dpo, simpo: how much the reference or the margin counts'),
  steps: positive.optional().describe('Steps; by default as many as --epochs take'),
  epochs: z.number().positive().default(1).describe('Passes over the rows'),
  batch: positive.default(8).describe('Rows of a batch'),
  accumulate: positive.default(1).describe('Batches of a step'),
  length: positive.default(512).describe('Most tokens of a row'),
  tooLong: z.enum(['error', 'cut', 'drop']).default('error').describe('What becomes of longer rows'),
  optimizer: z.enum(['adamw', 'lion', 'sgd', 'muon', 'adafactor']).default('adamw'),
  rate: z
    .number()
    .positive()
    .optional()
    .describe('Learning rate; 0.001 for adapters, 0.0001 for all weights'),
  weightDecay: z.number().nonnegative().default(0),
  warmup: z.int().nonnegative().optional().describe('Steps of warm-up; a twentieth of all by default'),
  clip: z.number().positive().default(1).describe('Largest norm of the gradient'),
  validation: z
    .number()
    .positive()
    .lt(1)
    .default(0.05)
    .describe('Share of the rows that is measured, not learned'),
  every: positive.optional().describe('Steps between measurements; ten of them by default'),
  seed: z.int().nonnegative().default(1),
})
export type AdaptSettings = z.output<typeof adaptSchema>

export interface AdaptOptions
  extends Pick<RunOptions, 'folder' | 'resume' | 'signal' | 'onStep' | 'onMeasure'> {
  readonly engine: Engine
  /** The model's path. */
  readonly model: string
  readonly data: readonly string[]
  readonly settings: AdaptSettings
  readonly onNote?: (text: string) => void
}

export interface Adapted extends RunResult {
  readonly trained: number
  readonly rows: number
  readonly steps: number
}

/** What is trained, and how it is written. */
interface Change {
  readonly params: unknown
  readonly frozen: unknown
  readonly assemble: (params: never, frozen: never) => DecoderParams
  readonly write: (folder: string, params: never) => void
}

/** Trains by settings. Rows are in TRL's formats; pairs of answers need one of the objectives of preferences. */
export async function adapt(options: AdaptOptions): Promise<Adapted> {
  const { engine, settings, onNote = () => undefined } = options
  const model = Model.open(options.model, engine)
  if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer, which rows of text need`)
  const rows = await openRows(options.data)
  if (rows.length < 2)
    throw new Error(`${options.data.join(', ')}: two rows are needed, one of them to measure`)
  const format = formatOf(await rows.at(0))
  const objective = objectiveOf(settings, format, model)
  const parts = split(rows, { validation: settings.validation, seed: settings.seed })
  const [learned, heldOut] = [
    await batchesOf(parts.train, objective.pairs, model, settings, settings.seed),
    await batchesOf(parts.validation, objective.pairs, model, settings, undefined),
  ]
  const perEpoch = learned.perEpoch / settings.accumulate
  const steps = settings.steps ?? Math.max(1, Math.round(perEpoch * settings.epochs))
  const change = await changeOf(model, settings)
  const trained = leaves(change.params).reduce((sum, [, leaf]) => sum + leaf.data.length, 0)
  onNote(`${trained} parameters, ${parts.train.length} rows, ${steps} steps`)

  const rate = settings.rate ?? (settings.kind === 'full' ? 1e-4 : 1e-3)
  const warmup = settings.warmup ?? Math.floor(steps / 20)
  const factor = makeSchedule({ kind: 'linear', warmup: Math.min(warmup, steps - 1), steps })
  const { weightDecay, optimizer: kind } = settings
  using trainer = new Trainer({
    engine,
    model: objective.over(change) as Trainable<unknown, unknown, unknown>,
    objective: objective.objective as Objective<unknown, unknown>,
    batches: learned,
    optimizer: makeOptimizer({ kind, rate, weightDecay }).optimizer,
    rate: (step) => rate * factor(step),
    accumulate: settings.accumulate,
    clip: settings.clip,
    seed: settings.seed,
  })
  const { model: path, data } = options
  const result = await run(trainer, {
    ...options,
    name: `${settings.kind} of ${model.path.replace(/^.*[/\\]/, '')}`,
    steps,
    recipe: JSON.stringify({ model: path, data, ...settings }),
    measure: {
      every: settings.every ?? Math.max(1, Math.ceil(steps / 10)),
      run: async () => {
        const { loss, metrics } = await trainer.measure(heldOut, heldOut.perEpoch)
        return { loss, ...metrics }
      },
    },
    write: (folder) => change.write(folder, trainer.params as never),
  })
  return { ...result, trained, rows: parts.train.length, steps }
}

interface ChosenObjective {
  readonly objective: unknown
  readonly pairs: boolean
  /** What is trained as the objective takes it: the model, or the model beside what it was. */
  over(change: Change): unknown
}

function objectiveOf(settings: AdaptSettings, format: Format, { spec, params }: Model): ChosenObjective {
  const pairs = format === 'preference'
  const kind = settings.objective ?? (pairs ? 'dpo' : 'next-token')
  if (pairs !== (kind !== 'next-token'))
    throw new Error(
      pairs
        ? 'the rows are pairs of answers: --objective dpo, orpo or simpo learns from them'
        : `--objective ${kind} needs rows with a chosen and a rejected answer; these are of the format '${format}'`,
    )
  const { beta } = settings
  if (beta !== undefined && (kind === 'next-token' || kind === 'orpo'))
    throw new Error(`--beta is of dpo and simpo, not of ${kind}`)
  const own = beta === undefined ? {} : { beta }
  const alone = (change: Change) => change
  if (kind === 'next-token') return { objective: nextToken(spec), pairs, over: alone }
  if (kind === 'orpo') return { objective: orpo(spec, objectiveOptions('orpo', {})), pairs, over: alone }
  if (kind === 'simpo') return { objective: simpo(spec, objectiveOptions('simpo', own)), pairs, over: alone }
  return {
    objective: dpo(spec, objectiveOptions('dpo', own)),
    pairs,
    // The model as it was is the reference, without the adapter.
    over: ({ params: trained, frozen, assemble }) => ({
      params: trained,
      frozen: { own: frozen, reference: params },
      assemble: (policy: never, { own, reference }: { own: never; reference: DecoderParams }) => ({
        policy: assemble(policy, own),
        reference,
      }),
    }),
  }
}

type Counted = Batches<unknown> & { readonly perEpoch: number }

async function batchesOf(
  rows: Rows<Row>,
  pairs: boolean,
  { tokenizer, spec }: Model,
  settings: AdaptSettings,
  seed: number | undefined,
): Promise<Counted> {
  const length = Math.min(settings.length, spec.context)
  const { batch, tooLong } = settings
  const own = { batch, length, tooLong, ...(tokenizer!.pad !== undefined && { pad: tokenizer!.pad }) }
  const order = { ...own, ...(seed !== undefined && { seed }) }
  if (pairs) {
    const found = await paddedPairs(encodeExamples(rows, preferenceTokens, tokenizer!), order)
    return {
      perEpoch: found.perEpoch,
      async at(step) {
        const { chosen, rejected } = await found.at(step)
        return { chosen, rejected }
      },
    }
  }
  const found = await padded(encodeExamples(rows, trainingTokens, tokenizer!), order)
  return {
    perEpoch: found.perEpoch,
    async at(step) {
      const { tokens, mask } = await found.at(step)
      return { tokens, mask }
    },
  }
}

/** The adapter of the settings, or the whole model. */
async function changeOf(model: Model, settings: AdaptSettings): Promise<Change> {
  const { kind, rank, alpha, target, rslora, virtualTokens, seed } = settings
  if (kind === 'full') {
    const { params, frozen, assemble } = wholly(model.params)
    const json = JSON.parse(readFileSync(join(model.path, 'config.json'), 'utf8')) as Record<string, unknown>
    const { names } = load(model.path)
    const write = (folder: string, own: DecoderParams) =>
      saveModel(folder, {
        config: json,
        names,
        params: own,
        dtype: 'f32',
        files: tokenizerFilesOf(model.path),
      })
    return { params, frozen, assemble, write }
  }
  const targets = target?.length === 1 && target[0] === 'all-linear' ? 'all-linear' : target
  const chosen = targets === undefined ? {} : { targets }
  const low = { rank, alpha, rslora, seed, ...chosen }
  const make: Readonly<Record<Exclude<AdaptSettings['kind'], 'full'>, () => Adapter | Promise<Adapter>>> = {
    lora: () => lora(model, low),
    dora: () => lora(model, { ...low, dora: true }),
    ia3: () => ia3(model, chosen),
    prefix: () => prefixTuning(model, { length: virtualTokens, seed }),
    prompt: () => promptTuning(model, { length: virtualTokens, seed }),
  }
  const adapter = await make[kind]()
  return {
    ...overFrozen(model.params, adapter),
    write: (folder, params) => writeAdapter(folder, { ...adapter, params }, model),
  } as Change
}
