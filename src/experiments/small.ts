/** Small language models for experiments: one corpus, one shape, one budget, so that arms differ in one thing. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { familyOf } from '../model/families/index.ts'
import type { DecoderParams, DecoderSpec } from '../model/index.ts'
import { bundledModel } from '../store/index.ts'
import { loadTokenizer, type Tokenizer } from '../text/index.ts'
import { coveringBatches, PackedBatches } from '../train/data/packed.ts'
import { openText } from '../train/data/text.ts'
import { tokenizeCorpus } from '../train/data/tokenize.ts'
import {
  type Batches,
  initialize,
  makeOptimizer,
  makeSchedule,
  nextToken,
  type Objective,
  type OptimizerRecipe,
  type ScheduleRecipe,
  type TokenBatch,
  Trainer,
  wholly,
} from '../train/index.ts'
import type { ExperimentContext } from './experiment.ts'

/** A file of this repository. */
export const ownFile = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/**
 * The model that experiments look into: the default one, or the starter where that has not been trained. Results say which;
 * an experiment's version has to change when the model does.
 */
export const defaultModel = (): string => bundledModel('default') ?? ownFile('models/starter')

/** A model's folder and shape in words. */
export function describeModel(path: string): string {
  const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>
  return `models/${basename(path)}: ${config.model_type}, ${config.num_hidden_layers} layers of width ${config.hidden_size}, ${config.vocab_size} tokens`
}

/** What is made when it is first asked for: nothing is read where all arms are known. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}

export interface Corpus {
  readonly tokenizer: Tokenizer
  readonly learned: Int32Array | Uint16Array
  readonly heldOut: Int32Array | Uint16Array
  /** Of the documents held out. */
  readonly bytesPerToken: number
}

export const storyFiles = [
  'data/tinystories-val-part/tinystories_dedup.txt.gz',
  'text/tinystories_new/tinystories_mines.txt.gz',
] as const

/**
 * TinyStories under a tokenizer (the starter's of 1024 tokens): of each file the last 2 % are held out, and the first
 * `most` documents of the others are learned.
 */
export async function stories(
  { data, note }: Pick<ExperimentContext, 'data' | 'note'>,
  tokenizer: Tokenizer = loadTokenizer(ownFile('models/starter')),
  files: readonly string[] = storyFiles,
  most = Number.POSITIVE_INFINITY,
): Promise<Corpus> {
  const parts = { learned: [] as string[], heldOut: [] as string[] }
  for (const file of files) {
    note(`reading ${file} ...`)
    const rows = await openText(data(file))
    const border = rows.length - Math.ceil(rows.length * 0.02)
    for (let i = 0; i < rows.length; i++)
      if (i < most || i >= border)
        parts[i < border ? 'learned' : 'heldOut'].push(((await rows.at(i)) as { text: string }).text)
  }
  const encode = async (texts: readonly string[]) =>
    (await tokenizeCorpus({ length: texts.length, at: (i) => texts[i] }, tokenizer, { endOfText: null }))
      .tokens
  const heldOut = await encode(parts.heldOut)
  const bytes = parts.heldOut.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  return { tokenizer, learned: await encode(parts.learned), heldOut, bytesPerToken: bytes / heldOut.length }
}

/** config.json of a Llama of about 0.9M parameters, with a vocabulary of its corpus. */
export const smallConfig = (vocabulary: number, changes: Readonly<Record<string, unknown>> = {}) => ({
  model_type: 'llama',
  vocab_size: vocabulary,
  hidden_size: 128,
  intermediate_size: 344,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  ...changes,
})

export const describeConfig = (config: Readonly<Record<string, unknown>>) =>
  familyOf('safetensors', String(config.model_type)).describe(config, () => true)

export interface SmallOptions {
  /** Its tokenizer is asked for the size of the vocabulary where no `config` is given. */
  readonly corpus: Pick<Corpus, 'learned' | 'heldOut'> & Partial<Corpus>
  readonly seed: number
  readonly steps: number
  readonly config?: Readonly<Record<string, unknown>>
  /** Begin here instead of at random. */
  readonly params?: DecoderParams
  readonly batch?: number
  readonly length?: number
  readonly optimizer?: OptimizerRecipe
  /** Factor of the learning rate; warm-up, stable, decay over the last fifth where nothing is said. */
  readonly schedule?: ScheduleRecipe
  readonly objective?: (spec: DecoderSpec) => Objective<DecoderParams, TokenBatch>
  /** Held-out loss is measured with it; plain next-token prediction by default. */
  readonly measured?: (spec: DecoderSpec) => Objective<DecoderParams, TokenBatch>
  readonly batches?: Batches<TokenBatch>
  /** Held-out loss of next-token prediction after these steps too. */
  readonly measureAt?: readonly number[]
  /** Called with the parameters after these steps; 0 is before the first one. They are not to be kept: the next step may write over them. */
  readonly visit?: {
    readonly at: readonly number[]
    readonly with: (params: DecoderParams, step: number, spec: DecoderSpec) => Promise<void>
  }
}

function vocabularyOf({ tokenizer }: SmallOptions['corpus']): number {
  if (!tokenizer) throw new Error('trainSmall: give a config, or a corpus with its tokenizer')
  return tokenizer.vocabSize
}

export interface SmallRun {
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  /** Nats a token on the held-out stories, by plain next-token prediction. */
  readonly heldOutLoss: number
  /** The same on the way. */
  readonly curve: readonly { readonly step: number; readonly loss: number }[]
  /** Of training, without measuring. */
  readonly seconds: number
  /** The same of all threads of this process: what a busy machine does not change much. */
  readonly cpuSeconds: number
}

/** Trains one small model, with Muon unless asked otherwise. The seed sets weights and order. */
export async function trainSmall(context: ExperimentContext, options: SmallOptions): Promise<SmallRun> {
  const { corpus, seed, steps, batch = 16, length = 128, measureAt = [] } = options
  const { spec, names } = describeConfig(options.config ?? smallConfig(vocabularyOf(corpus)))
  const { optimizer, rate } = makeOptimizer(
    options.optimizer ?? { kind: 'muon', rate: 0.01, weightDecay: 0.1 },
  )
  const factor = makeSchedule(
    options.schedule ?? {
      kind: 'wsd',
      warmup: Math.ceil(steps / 20),
      decay: Math.ceil(steps / 5),
      steps,
      shape: '1-sqrt',
    },
  )
  const measured = (options.measured ?? nextToken)(spec)
  using trainer = new Trainer({
    engine: context.engine,
    model: wholly(options.params ?? initialize(spec, { seed, names })),
    objective: (options.objective ?? nextToken)(spec),
    batches:
      options.batches ?? new PackedBatches({ sources: [{ tokens: corpus.learned }], batch, length, seed }),
    optimizer,
    rate: (step) => rate * factor(step),
    clip: 1,
    seed,
  })
  const curve: { step: number; loss: number }[] = []
  const visit = async (step: number): Promise<void> => {
    if (options.visit?.at.includes(step)) await options.visit.with(trainer.params, step, spec)
  }
  await visit(0)
  const clock = new Clock()
  for (let step = 1; step <= steps; step++) {
    context.signal?.throwIfAborted()
    await trainer.next()
    clock.stop()
    await visit(step)
    clock.start()
    if (!measureAt.includes(step) || step === steps) continue
    clock.stop()
    curve.push({ step, loss: await heldOutLoss(context, spec, trainer.params, corpus, measured) })
    clock.start()
  }
  clock.stop()
  const params = trainer.params
  const loss = await heldOutLoss(context, spec, params, corpus, measured)
  const { seconds, cpuSeconds } = clock
  return { spec, params, heldOutLoss: loss, curve: [...curve, { step: steps, loss }], seconds, cpuSeconds }
}

/** Sums of time, of the clock and of this process, while it runs; it runs from the beginning. */
class Clock {
  seconds = 0
  cpuSeconds = 0
  #began = performance.now()
  #cpu = process.cpuUsage()

  start(): void {
    this.#began = performance.now()
    this.#cpu = process.cpuUsage()
  }

  stop(): void {
    const { user, system } = process.cpuUsage(this.#cpu)
    this.seconds += (performance.now() - this.#began) / 1000
    this.cpuSeconds += (user + system) / 1e6
  }
}

/** Nats a token of next-token prediction on the held-out documents, in windows of 128 tokens. */
export async function heldOutLoss(
  { engine }: Pick<ExperimentContext, 'engine'>,
  spec: DecoderSpec,
  params: DecoderParams,
  corpus: Pick<Corpus, 'heldOut'>,
  objective: Objective<DecoderParams, TokenBatch> = nextToken(spec),
): Promise<number> {
  const covering = coveringBatches(corpus.heldOut, { batch: 16, length: 128 })
  using measuring = new Trainer({
    engine,
    model: wholly(params),
    objective,
    batches: covering,
    optimizer: makeOptimizer({ kind: 'sgd', rate: 0 }).optimizer,
    rate: () => 0,
  })
  return (await measuring.measure(covering, Math.min(covering.count, 30))).loss
}
