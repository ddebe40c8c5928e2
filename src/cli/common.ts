/** What the verbs share: opening a model, and the tokens that it is given. */
import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { type Constraint, constraint, type JsonSchema, promptTokens } from '../decode/index.ts'
import { Encoder, kindOf, type Model, Seq2Seq } from '../model/index.ts'
import type { Engine } from '../onnx/index.ts'
import { type Opened, type OpenSettings, openDecoder, openEngine } from '../registry/open.ts'
import { locateModel } from './hub.ts'
import { note, status } from './terminal.ts'
import { type Flags, UsageError } from './verb.ts'

/** Options of every verb that runs a model. */
export const modelOptions = z.strictObject({
  model: z
    .string()
    .min(1)
    .describe(
      'A folder in Hugging Face layout, a .gguf file, a llama2.c .bin with its tokenizer.bin, org/name on the hub, or default: the model that comes with glossa',
    ),
  weights: z
    .enum(['f32', 'int8', 'int4', 'stored'])
    .default('f32')
    .describe(
      'f32 is exact and mapped from the file; int8 and int4 are smaller and faster; stored runs Q4_0 and Q8_0 of a GGUF file as they are',
    ),
  lora: z
    .array(z.string().min(1))
    .optional()
    .describe('A PEFT adapter: its folder, and its strength (1 by default); several add up'),
  with: z
    .array(z.string().min(1))
    .optional()
    .describe('A method that steers the model or shapes what is drawn; several act in their order'),
  context: z.int().positive().optional().describe('Most positions; by default those the model was made for'),
  device: z
    .string()
    .min(1)
    .default('cpu')
    .describe('Execution provider of ONNX Runtime; auto measures which is fastest'),
  threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
})

export const tokensOption = z.array(z.int().nonnegative()).optional().describe('Token ids instead of text')
export const jsonOption = z.boolean().default(false).describe('One JSON object on stdout, and nothing else')

/** Options of every verb that constrains what it generates. */
export const constrainOptions = z.strictObject({
  jsonSchema: z
    .string()
    .optional()
    .describe('The output is JSON by this schema: a file, or the schema itself'),
  grammar: z.string().optional().describe('The output is a text of this GBNF grammar'),
})
export const constrainFlags = {
  jsonSchema: { value: 'FILE|JSON' },
  grammar: { value: 'FILE' },
} as const satisfies Flags<typeof constrainOptions>

export const modelFlags = {
  model: { short: 'm', value: 'MODEL' },
  lora: { also: ['adapter'], value: 'FOLDER[:STRENGTH]' },
  with: { value: 'ID:KEY=VALUE,...' },
  context: { also: ['ctx-size'] },
  device: { value: 'NAME' },
} as const satisfies Flags<typeof modelOptions>

export interface ModelSettings extends Omit<OpenSettings, 'path' | 'notes'> {
  /** As it was given. */
  readonly model: string
}

/**
 * Opens a decoder, fetched if need be, with its methods, and seals it in the format asked for. Verbs that draw tokens
 * take rules too.
 */
export const openModel = async (
  settings: ModelSettings,
  { draws = false }: { readonly draws?: boolean } = {},
): Promise<Opened<Model>> => openDecoder(await locate(settings), { draws })

/** The same for verbs that draw tokens and take an encoder-decoder too. */
export async function openGenerator(settings: ModelSettings): Promise<Opened<Model | Seq2Seq>> {
  const located = await locate(settings)
  return kindOf(located.path) === 'encoder-decoder' ? openWhole(located, Seq2Seq) : openDecoder(located)
}

/** The same for verbs that take every kind. */
export async function openAny(settings: ModelSettings): Promise<Opened<Model | Encoder | Seq2Seq>> {
  const located = await locate(settings)
  const kind = kindOf(located.path)
  if (kind === 'decoder') return openDecoder(located, { draws: false })
  return kind === 'encoder' ? openWhole(located, Encoder) : openWhole(located, Seq2Seq)
}

type Located = ModelSettings & OpenSettings

async function locate(settings: ModelSettings): Promise<Located> {
  const path = await locateModel(settings.model)
  status(`loading ${settings.model} ...`)
  return { ...settings, path, notes: { lasting: note, passing: status } }
}

/** An encoder or an encoder-decoder, which has neither rounded weights nor another context. */
async function openWhole<M>(
  located: Located,
  kind: { open(path: string, engine: Engine): M },
): Promise<Opened<M>> {
  const { model: name, path, weights, lora = [], with: specs = [], context } = located
  if (specs.length > 0) throw new UsageError(`--with is for decoders: ${name} takes no methods`)
  if (lora.length > 0) throw new UsageError(`--lora is for decoders: ${name} takes no adapters`)
  if (weights !== 'f32') throw new UsageError(`--weights ${weights} is for decoders: ${name} runs in f32`)
  if (context !== undefined) throw new UsageError(`--context is for decoders: that of ${name} is fixed`)
  const engine = await openEngine(located)
  return { model: kind.open(path, engine), rules: [], [Symbol.asyncDispose]: () => engine.dispose() }
}

/** The token ids of a text, with the special tokens that the model's configuration adds. */
export function encode(model: Pick<Model, 'tokenizer' | 'path'>, text: string): number[] {
  if (!model.tokenizer)
    throw new Error(`${model.path} has no tokenizer: give token ids, for example --tokens 3,17,42`)
  return promptTokens(model, text)
}

/** What a verb has that looks at one text: exactly one of the two. */
export interface ReadSettings extends ModelSettings {
  readonly prompt?: string | undefined
  readonly tokens?: readonly number[] | undefined
}

/** The tokens of `-p`, or those of `--tokens`. */
export function readIds(
  model: Pick<Model, 'tokenizer' | 'path'>,
  { prompt, tokens }: Pick<ReadSettings, 'prompt' | 'tokens'>,
): number[] {
  const ids = prompt === undefined ? [...tokens!] : encode(model, prompt)
  if (ids.length === 0) throw new UsageError('-p: the text has no tokens')
  return ids
}

/** The constraint that the options ask for, as a part of the context of generation. */
export function readConstraint(
  { tokenizer, path }: Pick<Model, 'tokenizer' | 'path'>,
  { jsonSchema, grammar }: z.output<typeof constrainOptions>,
): { constrain?: Constraint } {
  if (jsonSchema === undefined && grammar === undefined) return {}
  if (jsonSchema !== undefined && grammar !== undefined)
    throw new UsageError('--json-schema and --grammar exclude each other')
  if (!tokenizer) throw new Error(`${path} has no tokenizer, which --json-schema and --grammar need`)
  if (grammar !== undefined) return { constrain: constraint(tokenizer, { grammar: readText(grammar) }) }
  const inline = /^\s*[{]/.test(jsonSchema!)
  const source = inline ? jsonSchema! : readText(jsonSchema!)
  let schema: JsonSchema
  try {
    schema = JSON.parse(source) as JsonSchema
  } catch (error) {
    throw new Error(`${inline ? '--json-schema' : jsonSchema}: not JSON: ${(error as Error).message}`)
  }
  return { constrain: constraint(tokenizer, { jsonSchema: schema }) }
}

/** Exactly one of the options, by their flags. */
export function exactlyOne(choices: Readonly<Record<string, unknown>>): void {
  const flags = Object.keys(choices)
  const given = flags.filter((flag) => choices[flag] !== undefined)
  const all = flags.join(', ').replace(/, ([^,]*)$/, ' or $1')
  if (given.length === 0) throw new UsageError(`there is nothing to read: give ${all}`)
  if (given.length > 1) throw new UsageError(`${given.join(' and ')} exclude each other: give one of ${all}`)
}

/** A text file, or stdin for '-'. */
export function readText(path: string): string {
  const name = path === '-' ? 'stdin' : path
  let bytes: Buffer
  try {
    bytes = readFileSync(path === '-' ? 0 : path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'is a folder' : message
    throw new Error(`${name}: ${reason}`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new Error(`${name}: is not UTF-8 text`)
  }
}
