/**
 * Fields of requests: what is taken, what is harmless, and what would change the answer and is refused by name. Unknown
 * fields are refused, because nobody knows what they would have done.
 */
import * as z from 'zod'
import type { GenerateOptions } from '../../decode/index.ts'
import { closest } from '../../method/index.ts'
import { ApiError } from '../errors.ts'
import { glossaSchema } from '../host/types.ts'

/** Taken from OpenAI's requests as they are, without an effect on what is answered. */
const harmless = [
  'user',
  'metadata',
  'store',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'cache_prompt',
  'id_slot',
  'parallel_tool_calls',
  'verbosity',
] as const

/** Why a field that other servers know is refused. */
const refusals: Readonly<Record<string, string>> = {
  suffix: 'filling in before a suffix is not served',
  best_of: 'only the n texts that are drawn are returned: ask for n',
  audio: 'there is no audio',
  modalities: 'there is text alone',
  prediction: 'predicted outputs are not served',
  web_search_options: 'the server reaches no network',
  functions: "write them as 'tools'",
  function_call: "write it as 'tool_choice'",
  reasoning_effort: 'models here have no adjustable reasoning',
  dimensions: 'vectors have the width of the model',
  lora: 'adapters are chosen when the server is started',
  n_probs: "ask for 'logprobs'",
}

const number = z.number()
const optional = <T extends z.ZodType>(type: T) => type.nullish()

/** Fields of sampling, OpenAI's and llama.cpp's. */
const samplingShape = {
  temperature: optional(number.min(0).max(100)),
  top_p: optional(number.gt(0).max(1)),
  stop: optional(z.union([z.string().min(1), z.array(z.string().min(1)).max(16)])),
  seed: optional(z.int()),
  n: optional(z.int().min(1).max(128)),
  presence_penalty: optional(number.min(-2).max(2)),
  frequency_penalty: optional(number.min(-2).max(2)),
  logit_bias: optional(z.record(z.string().regex(/^\d+$/, 'keys are token ids'), number.min(-100).max(100))),
  top_k: optional(z.int()),
  min_p: optional(number.min(0).max(1)),
  typical_p: optional(number.gt(0).max(1)),
  repeat_penalty: optional(number.positive()),
  repetition_penalty: optional(number.positive()),
  top_n_sigma: optional(number),
  xtc_probability: optional(number.min(0).max(1)),
  xtc_threshold: optional(number.min(0).max(1)),
  dry_multiplier: optional(number.min(0)),
  dry_base: optional(number.min(1)),
  dry_allowed_length: optional(z.int().positive()),
  dry_sequence_breakers: optional(z.array(z.string().min(1))),
  mirostat: optional(z.int().min(0).max(2)),
  mirostat_tau: optional(number.positive()),
  mirostat_eta: optional(number.positive()),
  ignore_eos: optional(z.boolean()),
}

const formatShape = {
  grammar: optional(z.string().min(1)),
  json_schema: optional(z.looseObject({})),
  response_format: optional(
    z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('text') }),
      z.strictObject({ type: z.literal('json_object') }),
      z.strictObject({
        type: z.literal('json_schema'),
        json_schema: z.strictObject({
          name: z.string(),
          description: z.string().optional(),
          schema: z.looseObject({}).optional(),
          strict: z.boolean().nullish(),
        }),
      }),
    ]),
  ),
}

const commonShape = {
  model: z.string().min(1),
  stream: optional(z.boolean()),
  stream_options: optional(
    z.strictObject({ include_usage: z.boolean().optional(), include_obfuscation: z.boolean().optional() }),
  ),
  ...samplingShape,
  ...formatShape,
  glossa: glossaSchema.optional(),
}

const tokens = z.array(z.int().min(0)).nonempty()

export const completionsSchema = z.strictObject({
  ...commonShape,
  prompt: z.union([z.string(), tokens, z.array(z.string()).nonempty(), z.array(tokens).nonempty()]),
  max_tokens: optional(z.int().min(0)),
  echo: optional(z.boolean()),
  logprobs: optional(z.int().min(0).max(100)),
})
export type CompletionsRequest = z.output<typeof completionsSchema>

const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: optional(
    z.union([
      z.string(),
      z.array(z.strictObject({ type: z.literal('text', 'only parts of text are read'), text: z.string() })),
    ]),
  ),
})

export const chatSchema = z.strictObject({
  ...commonShape,
  messages: z.array(message).nonempty(),
  max_tokens: optional(z.int().min(0)),
  max_completion_tokens: optional(z.int().min(0)),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  tools: optional(
    z.array(
      z.strictObject({
        type: z.literal('function'),
        function: z.looseObject({
          name: z.string().min(1),
          parameters: optional(z.union([z.boolean(), z.record(z.string(), z.unknown())])),
        }),
      }),
    ),
  ),
  tool_choice: optional(
    z.union(
      [
        z.enum(['none', 'auto', 'required']),
        z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: z.string() }) }),
      ],
      "is 'none', 'auto', 'required' or { type: 'function', function: { name } }",
    ),
  ),
})
export type ChatRequest = z.output<typeof chatSchema>

export const embeddingsSchema = z.strictObject({
  model: z.string().min(1),
  input: z.union([z.string(), tokens, z.array(z.string()).nonempty(), z.array(tokens).nonempty()]),
  encoding_format: optional(z.enum(['float', 'base64'])),
})

/** Checks a request; what is wrong is told by the field. */
export function readRequest<S extends z.ZodObject>(schema: S, body: unknown): z.output<S> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new ApiError(400, 'the body must be a JSON object')
  const fields = { ...body } as Record<string, unknown>
  for (const name of harmless) delete fields[name]
  for (const [name, reason] of Object.entries(refusals))
    if (name in fields && !(name in schema.shape)) {
      // As good as not given.
      if (fields[name] === null || (name === 'best_of' && fields[name] === (fields.n ?? 1)))
        delete fields[name]
      else
        throw new ApiError(400, `'${name}' is not supported: ${reason}`, { param: name, code: 'unsupported' })
    }
  const result = schema.safeParse(fields)
  if (result.success) return result.data
  const issue = deepest(result.error.issues[0]!)
  if (issue.code === 'unrecognized_keys' && issue.path.length === 0) {
    const [name] = issue.keys as [string]
    const near = closest(name, Object.keys(schema.shape))
    const hint = near.length > 0 ? `; did you mean ${near.map((one) => `'${one}'`).join(', ')}?` : ''
    throw new ApiError(400, `there is no field '${name}'${hint}`, { param: name, code: 'unknown_field' })
  }
  const path = issue.path.join('.')
  throw new ApiError(400, `${path}: ${issue.message}`, { param: path, code: 'invalid_value' })
}

/** What is wrong at the bottom: of a union the branch that came furthest, of a key the key. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  const inner =
    issue.code === 'invalid_union'
      ? issue.errors.flatMap(([first]) => (first ? [deepest(first)] : []))
      : issue.code === 'invalid_key'
        ? issue.issues
        : []
  const [best] = [...inner].sort((a, b) => b.path.length - a.path.length)
  if (!best || (issue.code === 'invalid_union' && best.path.length === 0)) return issue
  return { ...best, path: [...issue.path, ...best.path] }
}

type Sampling = { readonly [K in keyof typeof samplingShape]?: z.output<(typeof samplingShape)[K]> }

/** Our options for theirs. Where nothing is said, OpenAI's defaults hold: temperature 1, the whole distribution. */
export function samplingOptions(request: Sampling): GenerateOptions {
  const given: Readonly<Record<string, unknown>> = {
    temperature: request.temperature ?? 1,
    topP: request.top_p,
    stop: typeof request.stop === 'string' ? [request.stop] : request.stop,
    // Some clients draw negative ones.
    seed: typeof request.seed === 'number' ? request.seed >>> 0 : undefined,
    samples: request.n,
    presencePenalty: request.presence_penalty,
    frequencyPenalty: request.frequency_penalty,
    logitBias: request.logit_bias,
    // llama.cpp and vLLM write 0 or -1 for all.
    topK: request.top_k && request.top_k > 0 ? request.top_k : undefined,
    minP: request.min_p,
    typicalP: request.typical_p,
    repetitionPenalty: request.repetition_penalty ?? request.repeat_penalty,
    topNSigma: request.top_n_sigma && request.top_n_sigma > 0 ? request.top_n_sigma : undefined,
    xtcProbability: request.xtc_probability,
    xtcThreshold: request.xtc_threshold,
    dryMultiplier: request.dry_multiplier,
    dryBase: request.dry_base,
    dryAllowedLength: request.dry_allowed_length,
    dryBreakers: request.dry_sequence_breakers,
    mirostat: request.mirostat,
    mirostatTau: request.mirostat_tau,
    mirostatEta: request.mirostat_eta,
    stopTokens: request.ignore_eos ? [] : undefined,
  }
  return Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined && value !== null),
  )
}

type Format = { readonly [K in keyof typeof formatShape]?: z.output<(typeof formatShape)[K]> }

/** What the answer must be, by whichever field says so. */
export function constraintFields({
  grammar,
  json_schema: schema,
  response_format: format,
}: Format): { jsonSchema: object } | { grammar: string } | undefined {
  const given = Object.entries({
    grammar,
    json_schema: schema,
    response_format: format?.type === 'text' ? null : format,
  })
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name]) => name)
  if (given.length > 1)
    throw new ApiError(400, `'${given.join("' and '")}' exclude each other`, { param: given[1]! })
  if (typeof grammar === 'string') return { grammar }
  if (schema) return { jsonSchema: schema }
  if (format?.type === 'json_object') return { jsonSchema: { type: 'object' } }
  if (format?.type === 'json_schema') return { jsonSchema: format.json_schema.schema ?? { type: 'object' } }
  return undefined
}
