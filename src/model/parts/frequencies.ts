/** Angles per position of rotary pairs, and how models stretch them beyond their first context. */
import type { RotaryScaling } from '../spec.ts'

/** base^(-2i / size) for each pair i of `size` dimensions. */
export const frequencies = (base: number, size: number): Float64Array =>
  Float64Array.from({ length: size / 2 }, (_, i) => base ** ((-2 * i) / size))

type Scale<K extends RotaryScaling['kind']> = (
  base: number,
  size: number,
  scaling: Extract<RotaryScaling, { kind: K }>,
  context: number,
) => Float64Array

const scales: { readonly [K in RotaryScaling['kind']]: Scale<K> } = {
  linear: (base, size, { factor }) => frequencies(base, size).map((f) => f / factor),

  llama3(base, size, { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext }) {
    return frequencies(base, size).map((f) => {
      const turns = (originalContext * f) / (2 * Math.PI)
      const keep = clamp((turns - low) / (high - low))
      return keep * f + ((1 - keep) * f) / factor
    })
  },

  dynamic(base, size, { factor, originalContext }, context) {
    const length = Math.max(context, originalContext)
    const stretch = (factor * length) / originalContext - (factor - 1)
    return frequencies(base * stretch ** (size / (size - 2)), size)
  },

  yarn(base, size, { factor, originalContext, fast, slow, truncate }) {
    /** The pair, as a fraction, that turns so often within the original context. */
    const pairOf = (turns: number): number =>
      (size * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(base))
    const [first, last] = [pairOf(fast), pairOf(slow)]
    const low = Math.max(truncate ? Math.floor(first) : first, 0)
    const high = Math.min(truncate ? Math.ceil(last) : last, size - 1)
    // A slope without length would be no number.
    const length = low === high ? 0.001 : high - low
    return frequencies(base, size).map((f, i) => {
      const divide = clamp((i - low) / length)
      return (1 - divide) * f + (divide * f) / factor
    })
  },

  longrope(base, size, { short, long, originalContext }, context) {
    const factors = context > originalContext ? long : short
    return frequencies(base, size).map((f, i) => f / factors[i]!)
  },
}

/** The angles of a model that is opened with `context` positions. */
export function scaledFrequencies(
  base: number,
  size: number,
  scaling: RotaryScaling | undefined,
  context: number,
): Float64Array {
  if (!scaling) return frequencies(base, size)
  const scale = scales[scaling.kind] as Scale<RotaryScaling['kind']>
  return scale(base, size, scaling as never, context)
}

/** Factor of cos and sin. */
export const magnitudeOf = (scaling: RotaryScaling | undefined): number =>
  scaling && 'magnitude' in scaling ? scaling.magnitude : 1

const clamp = (x: number): number => Math.min(1, Math.max(0, x))
