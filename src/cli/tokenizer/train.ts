/** `glossa tokenizer train`: a vocabulary from texts. */
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { writeAtomic } from '../../store/file.ts'
import {
  bpeTrainingSchema,
  type TokenizerJson,
  type TrainingHooks,
  tokenizerConfig,
  trainBpe,
  trainUnigram,
  trainWordPiece,
  unigramTrainingSchema,
  wordPieceTrainingSchema,
} from '../../text/index.ts'
import { bytes, clearStatus, note, Progress, print, printJson, short } from '../terminal.ts'
import { TransferBar } from '../transferBar.ts'
import { type Flag, UsageError } from '../verb.ts'
import { corpusBytes, learnedCorpus } from './corpus.ts'

const kinds = {
  bpe: { schema: bpeTrainingSchema, train: trainBpe },
  wordpiece: { schema: wordPieceTrainingSchema, train: trainWordPiece },
  unigram: { schema: unigramTrainingSchema, train: trainUnigram },
} as const
export type Kind = keyof typeof kinds
export const kindNames = Object.keys(kinds) as [Kind, ...Kind[]]
const schemas = kindNames.map((kind) => [kind, kinds[kind].schema.shape as z.ZodRawShape] as const)

/** Every option of every kind; what is not given has the default of the kind. */
export const trainingOptions: Readonly<Record<string, z.ZodType>> = Object.fromEntries(
  schemas.flatMap(([, shape]) =>
    Object.entries(shape).map(([key, field]) => {
      const owners = kindsWith(key)
      const text = (field as z.ZodType).description ?? optional(field as z.ZodType).description ?? ''
      const scope = owners.length < kindNames.length ? `${owners.join(', ')}: ` : ''
      return [key, optional(field as z.ZodType).describe(`${scope}${text}`)]
    }),
  ),
)

/** How options are written that are not their key in kebab case. */
export const trainingFlags: Readonly<Record<string, Flag>> = {
  vocabSize: { name: 'vocab', also: ['vocab-size'] },
  specialTokens: { name: 'special-token', value: 'TOKEN' },
  begin: { value: 'TOKEN' },
  end: { value: 'TOKEN' },
  unknown: { value: 'TOKEN' },
  pattern: { value: 'REGEX' },
}

function optional(field: z.ZodType): z.ZodType {
  const inner = field instanceof z.ZodDefault ? (field.unwrap() as z.ZodType) : field
  return inner instanceof z.ZodOptional ? inner : inner.optional().describe(inner.description ?? '')
}

function kindsWith(key: string): Kind[] {
  return schemas.filter(([, shape]) => key in shape).map(([kind]) => kind)
}

export interface TrainSettings {
  readonly kind: Kind
  readonly files: readonly string[]
  readonly field: string
  /** Share of each file's documents, the last ones, that is not read. */
  readonly heldOut: number
  readonly output: string
  readonly json: boolean
  /** Options of training that were given, by key. */
  readonly training: Readonly<Record<string, unknown>>
}

export async function train({
  kind,
  files,
  field,
  heldOut,
  output,
  json,
  training,
}: TrainSettings): Promise<void> {
  const { schema } = kinds[kind]
  for (const key of Object.keys(training))
    if (!(key in schema.shape))
      throw new UsageError(`${flagOf(key)} is for ${kindsWith(key).join(' and ')}, not for ${kind}`)
  const file = join(output, 'tokenizer.json')
  if (existsSync(file)) throw new Error(`${file}: is there already; choose another folder`)

  const total = corpusBytes(files)
  const reading = new TransferBar('reading')
  let [documents, size] = [0, 0]
  async function* texts(): AsyncGenerator<string> {
    for await (const text of learnedCorpus(files, heldOut, {
      field,
      onRead: (done) => reading.update(done, total),
    })) {
      documents++
      size += Buffer.byteLength(text)
      yield text
    }
    if (documents === 0) throw new Error(`${files.join(', ')}: no text`)
  }
  let progress: Progress | undefined
  const hooks: TrainingHooks = {
    onProgress: ({ step, done, total }) => {
      progress ??= new Progress(step, total)
      if (done > 0) progress.update(done)
    },
  }
  const started = performance.now()
  const start = kinds[kind].train as (texts: AsyncIterable<string>, options: object) => Promise<TokenizerJson>
  const trained = await start(texts(), { ...training, ...hooks })
  const seconds = (performance.now() - started) / 1000

  mkdirSync(output, { recursive: true })
  writeJson(join(output, 'tokenizer_config.json'), tokenizerConfig(trained))
  writeJson(file, trained)
  clearStatus()
  const { vocab } = trained.model
  const vocabSize = Array.isArray(vocab) ? vocab.length : Object.keys(vocab as object).length
  const asked = (training.vocabSize ?? schema.parse({}).vocabSize) as number
  if (json) return printJson({ kind, vocabSize, documents, bytes: size, seconds, output })
  if (vocabSize < asked) note(`the text gives no more than ${vocabSize} of ${asked} tokens`)
  print(`${vocabSize} tokens from ${documents} texts, ${bytes(size)}, in ${short(seconds)} s; ${output}\n`)
}

const writeJson = (path: string, value: object): void =>
  writeAtomic(path, (put) => put(Buffer.from(`${JSON.stringify(value, null, 1)}\n`)))

export const flagOf = (key: string): string =>
  `--${trainingFlags[key]?.name ?? key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
