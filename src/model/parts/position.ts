/** Rotary positions (Su et al. 2021). */
import { concat, type Tensor, tensor } from '../../array/index.ts'
import { type DecoderSpec, partOf } from '../spec.ts'
import { frequencies, magnitudeOf, scaledFrequencies } from './frequencies.ts'

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
  const full = rotaryTable(scaledFrequencies(base, size, scaling, context), context, magnitudeOf(scaling))
  return {
    full,
    windowed: windowedBase === undefined ? full : rotaryTable(frequencies(windowedBase, size), context),
  }
}

/** cos and sin of position * frequency times `magnitude`, computed in float64. */
function rotaryTable(frequencies: Float64Array, context: number, magnitude = 1): RotaryTable {
  const half = frequencies.length
  const cos = new Float32Array(context * half)
  const sin = new Float32Array(context * half)
  for (let position = 0; position < context; position++)
    for (let i = 0; i < half; i++) {
      cos[position * half + i] = magnitude * Math.cos(position * frequencies[i]!)
      sin[position * half + i] = magnitude * Math.sin(position * frequencies[i]!)
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
