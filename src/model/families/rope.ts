/** Rotary positions in Hugging Face configurations: top-level keys, or one object since transformers 5. */
import * as z from 'zod'
import type { RotaryScaling, RotarySpec } from '../spec.ts'

const kind = z.enum(['default', 'linear', 'llama3'], {
  error: ({ input }) => `rope scaling '${input}' is not supported yet; there are linear and llama3`,
})
const fields = {
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.number().positive().optional(),
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
}

/** The positions that a configuration describes. `share` of each head is rotated. */
export function rotary(
  { rope_theta, rope_scaling, rope_parameters }: RopeConfig,
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
    scaling: scalingOf(rope_scaling ?? rope_parameters),
  }
}

function scalingOf(c: z.output<typeof scaling> | undefined): RotaryScaling | undefined {
  const kind = c?.rope_type ?? c?.type ?? 'default'
  if (!c || kind === 'default') return undefined
  const need = (key: keyof typeof fields): number => {
    const value = c[key]
    if (value === undefined) throw new Error(`rope scaling '${kind}' needs '${key}'`)
    return value
  }
  if (kind === 'linear') return { kind, factor: need('factor') }
  return {
    kind,
    factor: need('factor'),
    lowFrequencyFactor: need('low_freq_factor'),
    highFrequencyFactor: need('high_freq_factor'),
    originalContext: need('original_max_position_embeddings'),
  }
}
