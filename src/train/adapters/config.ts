/**
 * adapter_config.json as PEFT writes it. What changes the computation is read or refused by name; what only matters
 * to training or to the place of the base model is kept. A key that we do not know is refused unless it is at rest
 * (null, false, empty), as all of PEFT's additions are until somebody asks for them.
 */
import * as z from 'zod'
import type { Activity } from './targets.ts'

export type PeftConfig = Readonly<Record<string, unknown>> & { readonly peft_type: string }

const names = z.array(z.string().min(1))
const namesOrPattern = z.union([names, z.string().min(1)])
const count = z.int().positive()
const causal = z.literal('CAUSAL_LM', { error: 'only CAUSAL_LM is supported' }).nullish()

const lora = z.object({
  task_type: causal,
  r: count.default(8),
  lora_alpha: z.number().default(8),
  target_modules: namesOrPattern.nullish(),
  exclude_modules: namesOrPattern.nullish(),
  modules_to_save: names.nullish(),
  layers_to_transform: z.union([z.array(z.int()), z.int()]).nullish(),
  layers_pattern: namesOrPattern.nullish(),
  rank_pattern: z.record(z.string(), count).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  bias: z.literal('none', { error: "trained biases ('all', 'lora_only') are not supported" }).nullish(),
  // PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base weights as well, which the folder does not hold.
  init_lora_weights: z
    .union([z.boolean(), z.literal(['gaussian', 'eva', 'orthogonal'])], {
      error: 'this start changes the base weights too; convert the adapter to a plain LoRA in PEFT',
    })
    .nullish(),
})

const ia3 = z.object({
  task_type: causal,
  target_modules: namesOrPattern.nullish(),
  exclude_modules: namesOrPattern.nullish(),
  feedforward_modules: namesOrPattern.nullish(),
  modules_to_save: names.nullish(),
})

const promptLearning = z.object({
  task_type: causal,
  num_virtual_tokens: count,
  token_dim: count.nullish(),
  num_layers: count.nullish(),
  num_attention_heads: count.nullish(),
  num_transformer_submodules: z.literal(1, { error: 'only decoders (1) are supported' }).nullish(),
})

const schemas = { LORA: lora, IA3: ia3, PREFIX_TUNING: promptLearning, PROMPT_TUNING: promptLearning }

/** Keys that do not change what a trained adapter computes. */
const inert = new Set([
  ...['auto_mapping', 'base_model_name_or_path', 'inference_mode', 'peft_type', 'peft_version', 'revision'],
  // The layout follows from the model: A is [r, in] and B [out, r] in both.
  'fan_in_fan_out',
  ...['lora_dropout', 'loftq_config', 'eva_config', 'megatron_config', 'megatron_core', 'qalora_group_size'],
  ...['runtime_config', 'velora_config', 'init_ia3_weights'],
  ...['encoder_hidden_size', 'init_weights', 'prefix_projection'],
  ...['prompt_tuning_init', 'prompt_tuning_init_text', 'tokenizer_kwargs', 'tokenizer_name_or_path'],
])

export type LoraConfig = z.output<typeof lora> & Activity
export type Ia3Config = z.output<typeof ia3> & Activity
export type PromptConfig = z.output<typeof promptLearning>
export type ReadConfig =
  | { readonly type: 'LORA'; readonly config: LoraConfig }
  | { readonly type: 'IA3'; readonly config: Ia3Config }
  | { readonly type: 'PREFIX_TUNING' | 'PROMPT_TUNING'; readonly config: PromptConfig }

const isAtRest = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0)

/** Reads a configuration; throws an error that names the file and every key that cannot be honoured. */
export function readPeftConfig(raw: unknown, file: string): ReadConfig {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    throw new Error(`${file}: is not an object`)
  const type = (raw as { peft_type?: unknown }).peft_type
  if (typeof type !== 'string' || !Object.hasOwn(schemas, type))
    throw new Error(
      `${file}: peft_type ${JSON.stringify(type) ?? 'is missing'}: supported are ${Object.keys(schemas).join(', ')}`,
    )
  const schema = schemas[type as keyof typeof schemas]
  const unknown = Object.entries(raw).filter(
    ([key, value]) => !Object.hasOwn(schema.shape, key) && !inert.has(key) && !isAtRest(value),
  )
  const result = schema.safeParse(raw)
  const problems = [
    ...unknown.map(([key, value]) => `'${key}' is ${JSON.stringify(value)}, which glossa does not know`),
    ...(result.error?.issues ?? []).map((issue) => `'${issue.path.join('.')}': ${issue.message}`),
  ]
  if (problems.length > 0) throw new Error(`${file}: ${problems.join('; ')}`)
  return { type, config: result.data } as ReadConfig
}

/** Keys in PEFT's order, which is alphabetical; nested ones too. */
export const printPeftConfig = (config: PeftConfig): string =>
  `${JSON.stringify(sorted(config), undefined, 2)}\n`

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(sorted)
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, child]) => [key, sorted(child)]))
}

/** What every configuration that we write says. */
export const commonConfig = (base: string | undefined) => ({
  auto_mapping: null,
  base_model_name_or_path: base ?? null,
  inference_mode: true,
  revision: null,
  task_type: 'CAUSAL_LM',
})
