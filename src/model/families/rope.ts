/** Rotary positions in Hugging Face configurations: top-level keys, or one object since transformers 5. */
import * as z from 'zod'
import type { RotaryScaling, RotarySpec } from '../spec.ts'

/** Kinds, and the keys that each reads; keys of another kind are errors. */
const keysOf = {
  default: [],
  linear: ['factor'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor'],
  dynamic: ['factor'],
  yarn: ['factor', 'attention_factor', 'beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim', 'truncate'],
  longrope: ['factor', 'attention_factor', 'short_factor', 'long_factor'],
} as const
type Kind = keyof typeof keysOf
const kind = z.enum(Object.keys(keysOf) as [Kind, ...Kind[]], {
  error: ({ input }) =>
    `rope scaling '${input}' is not supported yet; there are ${Object.keys(keysOf).slice(1).join(', ')}`,
})
const size = z.number().positive().nullish()
const fields = {
  factor: size,
  low_freq_factor: size,
  high_freq_factor: size,
  original_max_position_embeddings: size,
  attention_factor: size,
  beta_fast: size,
  beta_slow: size,
  mscale: z.number().nonnegative().nullish(),
  mscale_all_dim: z.number().nonnegative().nullish(),
  truncate: z.boolean().nullish(),
  short_factor: z.array(z.number().positive()).nullish(),
  long_factor: z.array(z.number().positive()).nullish(),
}
const scaling = z.strictObject({ type: kind.optional(), rope_type: kind.optional(), ...fields })
const parameters = z.strictObject({
  ...scaling.shape,
  rope_theta: z.number().positive().optional(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
})
export type RopeParameters = z.output<typeof parameters>

/** The keys, for a family's schema. */
export const ropeKeys = {
  rope_theta: z.number().positive().optional(),
  rope_scaling: scaling.nullish(),
  rope_parameters: parameters.optional(),
}
/** By kind of layer, in families that have several. */
export const layeredRopeKeys = {
  ...ropeKeys,
  rope_parameters: z.union([parameters, z.record(z.string(), parameters)]).optional(),
}

interface RopeConfig {
  readonly rope_theta?: number | undefined
  readonly rope_scaling?: z.output<typeof scaling> | null | undefined
  readonly rope_parameters?: RopeParameters | undefined
  readonly max_position_embeddings: number
}

/** The positions that a configuration describes. `share` of each head is rotated. */
export function rotary(
  { rope_theta, rope_scaling, rope_parameters, max_position_embeddings }: RopeConfig,
  headSize: number,
  share = rope_parameters?.partial_rotary_factor ?? 1,
): RotarySpec {
  const size = Math.trunc(headSize * share)
  if (size % 2 !== 0 || size === 0)
    throw new Error(
      `${size} of the ${headSize} dimensions of a head would be rotated; that needs an even number`,
    )
  return {
    kind: 'rotary',
    base: rope_theta ?? rope_parameters?.rope_theta ?? 10000,
    interleaved: false,
    ...(size !== headSize && { size }),
    scaling: scalingOf(rope_scaling ?? rope_parameters, max_position_embeddings, size),
  }
}

/** As Hugging Face's modeling_rope_utils.py reads them. `context` is max_position_embeddings. */
function scalingOf(
  c: z.output<typeof scaling> | undefined,
  context: number,
  rotated: number,
): RotaryScaling | undefined {
  const kind = c?.rope_type ?? c?.type ?? 'default'
  if (!c) return undefined
  const lone = (Object.keys(fields) as (keyof typeof fields)[]).find(
    (key) =>
      c[key] != null &&
      key !== 'original_max_position_embeddings' &&
      !(keysOf[kind] as readonly string[]).includes(key),
  )
  if (lone) throw new Error(`rope scaling '${kind}' does not read '${lone}'`)
  const need = <K extends keyof typeof fields>(key: K): NonNullable<z.output<(typeof fields)[K]>> => {
    const value = c[key]
    if (value == null) throw new Error(`rope scaling '${kind}' needs '${key}'`)
    return value as NonNullable<z.output<(typeof fields)[K]>>
  }
  const originalContext = c.original_max_position_embeddings ?? context
  const factor = (): number => c.factor ?? context / originalContext
  switch (kind) {
    case 'default':
      return undefined
    case 'linear':
      return { kind, factor: need('factor') }
    case 'llama3':
      return {
        kind,
        factor: need('factor'),
        lowFrequencyFactor: need('low_freq_factor'),
        highFrequencyFactor: need('high_freq_factor'),
        originalContext: need('original_max_position_embeddings'),
      }
    case 'dynamic':
      // Begins to stretch at max_position_embeddings, whatever the original context.
      return { kind, factor: need('factor'), originalContext: context }
    case 'yarn':
      return {
        kind,
        factor: factor(),
        originalContext,
        fast: c.beta_fast ?? 32,
        slow: c.beta_slow ?? 1,
        truncate: c.truncate ?? true,
        magnitude: c.attention_factor ?? yarnMagnitude(factor(), c.mscale, c.mscale_all_dim),
      }
    case 'longrope': {
      const original = need('original_max_position_embeddings')
      for (const key of ['short_factor', 'long_factor'] as const)
        if (need(key).length !== rotated / 2)
          throw new Error(`'${key}' has ${need(key).length} entries for ${rotated / 2} rotated pairs`)
      return {
        kind,
        short: need('short_factor'),
        long: need('long_factor'),
        originalContext: original,
        magnitude:
          c.attention_factor ?? (factor() <= 1 ? 1 : Math.sqrt(1 + Math.log(factor()) / Math.log(original))),
      }
    }
  }
}

/** 0.1 ln(factor) + 1 (Peng et al. 2023, equation 22), or a quotient of two such (DeepSeek). */
function yarnMagnitude(
  factor: number,
  over: number | null | undefined,
  under: number | null | undefined,
): number {
  const magnitude = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1)
  return over && under ? magnitude(over) / magnitude(under) : magnitude(1)
}

/**
 * Most positions of a model: with longrope those up to which the short factors hold, because Hugging Face takes the
 * others for longer sequences alone. Opening it with more chooses the long ones.
 */
export function contextOf(c: {
  readonly max_position_embeddings: number
  readonly rope_scaling?: RopeConfig['rope_scaling']
  readonly rope_parameters?: unknown
}): number {
  const known = parameters.safeParse(c.rope_scaling ?? c.rope_parameters).data
  const original = known?.original_max_position_embeddings
  const longrope = (known?.rope_type ?? known?.type) === 'longrope'
  return longrope && original ? Math.min(c.max_position_embeddings, original) : c.max_position_embeddings
}
