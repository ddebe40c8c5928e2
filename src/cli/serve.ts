/** `glossa serve`: models for others, over OpenAI's interface. */
import * as z from 'zod'
import { serve as startServer } from '../serve/index.ts'
import { modelFlags, modelOptions } from './common.ts'
import { locateModel } from './hub.ts'
import { note, print, printJson, status } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

const { weights, lora, with: methods, context, device, threads } = modelOptions.shape

const options = z.strictObject({
  model: z
    .array(z.string().min(1))
    .default(['default'])
    .describe('Models, each under its own name or another one, NAME=MODEL'),
  weights,
  lora,
  with: methods,
  context,
  device,
  threads,
  host: z.string().min(1).default('127.0.0.1').describe('Address; 0.0.0.0 is reached from elsewhere'),
  port: z.int().min(0).max(65535).default(8080).describe('0 takes any that is free'),
  apiKey: z
    .array(z.string().min(1))
    .optional()
    .describe('Requests must have one of these keys; GLOSSA_API_KEY too'),
  cors: z.array(z.string().min(1)).optional().describe('Origins of pages that may call; * is any'),
  slots: z.int().positive().default(16).describe('Rows that run at once'),
  queue: z.int().positive().default(1024).describe('Requests that may wait'),
  cacheMemory: z.int().positive().default(1024).describe('MiB for the cache of a model'),
  keepLoaded: z.int().positive().default(2).describe('Models that stay open at once'),
  sae: z.array(z.string().min(1)).optional().describe('An SAE whose features requests may ask for'),
  timeout: z.int().positive().default(600).describe('Seconds that an answer may take'),
  bodyLimit: z.int().positive().default(8192).describe('KiB of a request'),
  json: z.boolean().default(false).describe('The address as a JSON object on stdout'),
})

/** `NAME=VALUE`, or a value under a name made of it. */
export function named(text: string, name: (value: string) => string): [string, string] {
  const at = text.indexOf('=')
  return at > 0 ? [text.slice(0, at), text.slice(at + 1)] : [name(text), text]
}

/** Resolves at Ctrl-C or when the process is asked to end; asked again, it ends at once. */
export const untilStopped = (): Promise<void> =>
  new Promise((resolve) => {
    let asked = 0
    const stop = (): void => {
      asked++
      if (asked > 1) process.exit(130)
      resolve()
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
  })

export default verb({
  name: 'serve',
  summary: 'Serve models over HTTP, as OpenAI does',
  options,
  flags: {
    model: { short: 'm', value: 'MODEL' },
    lora: modelFlags.lora,
    with: modelFlags.with,
    context: modelFlags.context,
    device: modelFlags.device,
    apiKey: { value: 'KEY' },
    cors: { value: 'ORIGIN' },
    sae: { value: 'NAME=FOLDER' },
  },
  notes: `Routes: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /tokenize, /detokenize, /health, /metrics.
Requests may have a field 'glossa' with methods, edits and taps: docs/serving.md. Models are opened when they are first
asked for. Ctrl-C lets what runs end, and stops; a second one stops at once.`,
  async run({ model, json, host, port, apiKey = [], cors, slots, queue, cacheMemory, sae = [], ...rest }) {
    const { keepLoaded, timeout, bodyLimit, ...settings } = rest
    const models: Record<string, { path: string } & typeof settings> = {}
    for (const text of model) {
      const [name, value] = named(text, (path) => path.replace(/\/+$/, '').split('/').at(-1)!)
      if (Object.hasOwn(models, name))
        throw new UsageError(`two models are called ${name}: give one another name, NAME=MODEL`)
      models[name] = { ...settings, path: await locateModel(value) }
    }
    const keys = [...apiKey, ...(process.env.GLOSSA_API_KEY ? [process.env.GLOSSA_API_KEY] : [])]
    status('starting ...')
    const serving = await startServer({
      models,
      keep: keepLoaded,
      batch: { slots, queue, memory: cacheMemory * 2 ** 20 },
      saes: Object.fromEntries(sae.map((text) => named(text, (path) => path.split('/').at(-1)!))),
      ...{ host, port, apiKeys: keys, timeout, bodyLimit: bodyLimit * 1024 },
      ...(cors && { cors }),
    })
    const ended = untilStopped()
    const { url } = serving
    if (json) printJson({ url, models: Object.keys(models) })
    else {
      print(`${url}/v1\n`)
      const [first] = Object.keys(models)
      const body = JSON.stringify({ model: first, prompt: 'Once upon a time', max_tokens: 40 })
      note(`curl ${url}/v1/completions -H 'Content-Type: application/json' -d '${body}'`)
      if (keys.length === 0 && host !== '127.0.0.1' && host !== 'localhost')
        note('anybody who reaches this address can use it: --api-key KEY asks for a key')
    }
    await ended
    status('letting requests end ...')
    await serving.close()
    return 0
  },
})
