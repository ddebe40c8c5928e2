/** Rotary positions (Su et al. 2021). */
import { concat, type Tensor, tensor } from '../../array/index.ts'

export interface RotaryTable {
  /** [context, headSize / 2] */
  readonly cos: Tensor
  readonly sin: Tensor
}

/** cos and sin of position * base^(-2i / headSize), computed in float64. */
export function rotaryTable(base: number, headSize: number, context: number): RotaryTable {
  const half = headSize / 2
  const cos = new Float32Array(context * half)
  const sin = new Float32Array(context * half)
  for (let i = 0; i < half; i++) {
    const frequency = base ** ((-2 * i) / headSize)
    for (let position = 0; position < context; position++) {
      cos[position * half + i] = Math.cos(position * frequency)
      sin[position * half + i] = Math.sin(position * frequency)
    }
  }
  return { cos: tensor(cos, [context, half]), sin: tensor(sin, [context, half]) }
}

/**
 * Rotates the pairs of each head by their angles. x [batch, T, heads, D]; cos and sin [..., T, D/2], with a
 * leading batch axis or without.
 */
export function rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: boolean): Tensor {
  const size = x.shape.at(-1) as number
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
