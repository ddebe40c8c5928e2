/**
 * Random numbers from a seed, the same on every engine: a counter-based generator. Element i of stream
 * `seed` is a hash of (seed, i), so nothing has to be carried from one draw to the next.
 */
import { type Dim, type Shape, sizeOf } from './dim.ts'
import { iota, type Operand, scalar, Tensor } from './tensor.ts'

const two32 = 2 ** 32
// Odd multipliers below 2^21: products with a 32-bit word stay exact in float64 and in int64.
const rounds = [
  [16, 0x1e35b5],
  [13, 0x12b9af],
  [17, 0x1f123b],
  [15, 0x165667],
] as const

/** Xor of a word with its own high bits, then a multiplication, four times. */
function mix(word: number): number {
  let x = word
  for (const [shift, factor] of rounds) {
    x = (x ^ (x >>> shift)) >>> 0
    x = (x * factor + 0x9e3779b9) % two32
  }
  return (x ^ (x >>> 16)) >>> 0
}

/** A new seed for a named or numbered purpose, independent of other purposes. */
export const fold = (seed: number, purpose: number): number =>
  mix((mix((seed % two32) + (Math.trunc(seed / two32) & 0xffff)) + mix(purpose + 0x85ebca6b)) % two32)

/** Keeps seeds and counters apart: with mix(seed) alone, draw i of seed s would be draw s of seed i. */
const seedOffset = 0x85ebca6b

/** A generator for host code: uniform in [0, 1). */
export function generator(seed: number): () => number {
  const base = mix((mix(seed % two32) + seedOffset) % two32)
  let counter = 0
  return () => (mix((base + mix(counter++ % two32)) % two32) >>> 8) / 2 ** 24
}

/** Standard normal numbers by the Box-Muller transform. */
export function gaussian(seed: number): () => number {
  const uniform = generator(seed)
  let spare: number | undefined
  return () => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()))
    const angle = 2 * Math.PI * uniform()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
}

function mixTraced(word: Tensor): Tensor {
  let x = word
  for (const [shift, factor] of rounds)
    x = x
      .bitXor(x.div(2 ** shift))
      .mul(factor)
      .add(0x9e3779b9)
      .mod(two32)
  return x.bitXor(x.div(2 ** 16))
}

/**
 * Uniform numbers in [0, 1) inside a graph. `seed` is an i64 scalar (an input, to draw anew in each run) or a
 * number. Element i equals the i-th draw of `generator(seed)`.
 */
export function uniform(seed: Operand, shape: Shape): Tensor {
  const size: Dim = sizeOf(shape)
  const start = mixTraced((seed instanceof Tensor ? seed : scalar(seed, 'i64')).mod(two32))
  const base = mixTraced(start.add(seedOffset).mod(two32))
  const words = mixTraced(base.add(mixTraced(iota(size, 'i64').mod(two32))).mod(two32))
  return words
    .div(2 ** 8)
    .cast('f32')
    .mul(2 ** -24)
    .reshape(shape)
}

/** Standard normal numbers inside a graph (Box-Muller). */
export function normal(seed: number, shape: Shape): Tensor {
  const radius = uniform(fold(seed, 1), shape).neg().add(1).log().mul(-2).sqrt()
  return radius.mul(
    uniform(fold(seed, 2), shape)
      .mul(2 * Math.PI)
      .cos(),
  )
}
