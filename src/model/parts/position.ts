/** Rotary positions (Su et al. 2021). */
import { concat, type Tensor, tensor } from '../../array/index.ts'
import { type DecoderSpec, partOf, type RotaryScaling } from '../spec.ts'

/** [context, rotated dimensions / 2] each. */
export interface RotaryTable {
  readonly cos: Tensor
  readonly sin: Tensor
}

export interface RotaryTables {
  readonly full: RotaryTable
  /** Of the layers with a window. */
  readonly windowed: RotaryTable
}

/** The tables of a model with rotary positions, for sequences up to `context`. */
export function rotaryTables(spec: DecoderSpec, context = spec.context): RotaryTables | undefined {
  const { position } = spec
  if (position.kind !== 'rotary') return undefined
  const { base, size = partOf(spec, 'attention').headSize, scaling, windowedBase } = position
  const full = rotaryTable(scaled(frequencies(base, size), scaling), context)
  return {
    full,
    windowed: windowedBase === undefined ? full : rotaryTable(frequencies(windowedBase, size), context),
  }
}

/** Angle per position of each pair: base^(-2i / size). */
const frequencies = (base: number, size: number): Float64Array =>
  Float64Array.from({ length: size / 2 }, (_, i) => base ** ((-2 * i) / size))

function scaled(frequencies: Float64Array, scaling: RotaryScaling | undefined): Float64Array {
  if (!scaling) return frequencies
  const { factor } = scaling
  if (scaling.kind === 'linear') return frequencies.map((f) => f / factor)
  const { lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling
  return frequencies.map((f) => {
    const turns = (originalContext * f) / (2 * Math.PI)
    const keep = Math.min(1, Math.max(0, (turns - low) / (high - low)))
    return keep * f + ((1 - keep) * f) / factor
  })
}

/** cos and sin of position * frequency, computed in float64. */
function rotaryTable(frequencies: Float64Array, context: number): RotaryTable {
  const half = frequencies.length
  const cos = new Float32Array(context * half)
  const sin = new Float32Array(context * half)
  for (let position = 0; position < context; position++)
    for (let i = 0; i < half; i++) {
      cos[position * half + i] = Math.cos(position * frequencies[i]!)
      sin[position * half + i] = Math.sin(position * frequencies[i]!)
    }
  return { cos: tensor(cos, [context, half]), sin: tensor(sin, [context, half]) }
}

/**
 * Rotates the pairs of each head by their angles. x [batch, T, heads, D]; cos and sin [..., T, R/2], with a
 * leading batch axis or without. Dimensions from R on stay as they are.
 */
export function rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: boolean): Tensor {
  const size = x.shape.at(-1) as number
  const rotated = 2 * (cos.shape.at(-1) as number)
  if (rotated < size) {
    const [turning, still] = x.split(-1, [rotated, size - rotated])
    return concat([rotate(turning!, cos, sin, interleaved), still!], -1)
  }
  const [c, s] = [cos.expandDims(-2), sin.expandDims(-2)]
  const pairs = interleaved
    ? x.reshape([...x.shape.slice(0, -1), size / 2, 2])
    : x.reshape([...x.shape.slice(0, -1), 2, size / 2])
  const axis = interleaved ? -1 : -2
  const [a, b] = pairs.split(axis, [1, 1]).map((part) => part.reshape([...x.shape.slice(0, -1), size / 2]))
  const first = a!.mul(c).sub(b!.mul(s))
  const second = b!.mul(c).add(a!.mul(s))
  return interleaved
    ? concat([first.expandDims(-1), second.expandDims(-1)], -1).reshape(x.shape)
    : concat([first, second], -1)
}
