/** What the verbs share: opening a model, and the tokens that it is given. */
import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { promptTokens } from '../decode/index.ts'
import { load, Model, seal, type WeightFormat } from '../model/index.ts'
import { chooseProvider, Engine, nodeRuntime } from '../onnx/index.ts'
import { note, status } from './terminal.ts'
import { type Flags, UsageError } from './verb.ts'

/** Options of every verb that runs a model. */
export const modelOptions = z.strictObject({
  model: z
    .string()
    .min(1)
    .describe('A folder in Hugging Face layout, a .gguf file, or a llama2.c .bin with its tokenizer.bin'),
  weights: z
    .enum(['f32', 'int8', 'int4'])
    .default('f32')
    .describe('f32 is exact and mapped from the file; int8 and int4 are smaller and faster'),
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

export const modelFlags = {
  model: { short: 'm', value: 'MODEL' },
  context: { also: ['ctx-size'] },
  device: { value: 'NAME' },
} as const satisfies Flags<typeof modelOptions>

export interface ModelSettings {
  readonly model: string
  readonly weights: WeightFormat
  readonly context?: number | undefined
  readonly device: string
  readonly threads?: number | undefined
}

/** Opens a model and seals it in the format asked for. Disposing of it disposes of the engine too. */
export async function openModel({ model: path, weights, context, device, threads }: ModelSettings): Promise<{
  readonly model: Model
  [Symbol.asyncDispose](): Promise<void>
}> {
  status(`loading ${path} ...`)
  const settings = threads === undefined ? {} : { threads }
  let provider = device
  if (device === 'auto') {
    const choice = await chooseProvider(settings)
    provider = choice.provider
    note(`device ${provider}: ${choice.reason}`)
  }
  const runtime = nodeRuntime({ provider, ...settings })
  const engine = new Engine(runtime)
  const model = seal(new Model({ engine, ...load(path), ...(context !== undefined && { context }) }), {
    weights,
  })
  return { model, [Symbol.asyncDispose]: () => engine.dispose() }
}

/** The token ids of a text, with the special tokens that the model's configuration adds. */
export function encode(model: Model, text: string): number[] {
  if (!model.tokenizer)
    throw new Error(`${model.path} has no tokenizer: give token ids, for example --tokens 3,17,42`)
  return promptTokens(model, text)
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
