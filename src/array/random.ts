/**
 * Random numbers from a seed, the same on every engine: a counter-based generator. Element i of stream
 * `seed` is a hash of (seed, i), so nothing has to be carried from one draw to the next.
 *
 * Inside a graph a seed may be a tensor, the key: an i64 or i32 scalar of which the low 32 bits count. A program
 * that takes its key as an argument draws anew in each run; `fold` makes keys of it for layers, purposes and steps, in
 * the graph or outside with the same result. There are 2^32 streams: of some 65,000 keys two coincide by chance.
 *
 * @example
 * const step = engine.jit((x: Tensor, key: Tensor) => dropout(x, random.fold(key, layer)))
 * await step(x, random.key(random.fold(seed, stepsTaken)))
 */
import { type Dim, type Shape, sizeOf } from './dim.ts'
import { fused } from './fused.ts'
import { ShapeError, type Value } from './op.ts'
import { iota, type Operand, scalar, Tensor, tensor } from './tensor.ts'

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

/** Keeps seeds and purposes apart. */
const purposeOffset = 0x85ebca6b

/** A new seed for a numbered purpose, independent of other purposes; of a key or for a traced purpose, a new key. */
export function fold(seed: number, purpose: number): number
export function fold(seed: Operand, purpose: Operand): Tensor
export function fold(seed: Operand, purpose: Operand): number | Tensor {
  if (!(seed instanceof Tensor) && !(purpose instanceof Tensor)) {
    const word = mix((seed % two32) + (Math.trunc(seed / two32) & 0xffff))
    return mix((word + mix(purpose + purposeOffset)) % two32)
  }
  const [from, to] = [keyOf(seed), keyOf(purpose)]
  const high = from.div(two32).mod(2 ** 16)
  const word = mixWords(from.mod(two32).add(high).mod(two32))
  return mixWords(word.add(mixWords(to.add(purposeOffset).mod(two32))).mod(two32))
}

/** A seed as an argument of a program: an i64 scalar. */
export function key(seed: number): Tensor {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`random: a seed is an integer, got ${seed}`)
  return tensor([seed], [], 'i64')
}

/** A seed in a graph, as i64. */
function keyOf(seed: Operand): Tensor {
  if (!(seed instanceof Tensor)) return scalar(seed, 'i64')
  if (seed.rank !== 0 || (seed.dtype !== 'i64' && seed.dtype !== 'i32'))
    throw new ShapeError(`random: a key is an i64 or i32 scalar, got ${seed}`)
  return seed.cast('i64')
}

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

/** ONNX's number for the type uint32. */
const uint32 = 12

/**
 * `mix` of an i64 array of words, any shape. Divisions and remainders in 64 bits are slow; ONNX Runtime's CPU
 * provider has what it takes in 32 bits without a sign, where a product wraps around by itself.
 */
const mixCall = fused<object>({
  name: 'mixWords',
  body([word]) {
    let x = word!
    for (const [shift, factor] of rounds)
      x = x
        .bitXor(x.div(2 ** shift))
        .mul(factor)
        .add(0x9e3779b9)
        .mod(two32)
    return [x.bitXor(x.div(2 ** 16))]
  },
  onnx(e, [word]) {
    if (e.provider !== 'cpu') return undefined
    const number = (value: number) => e.node('Cast', [e.scalar(value, 'i64')], { to: uint32 })
    const scrambled = (x: Value, shift: number) =>
      e.node('BitwiseXor', [x, e.node('BitShift', [x, number(shift)], { direction: 'RIGHT' })])
    let x = e.node('Cast', [word!], { to: uint32 })
    for (const [shift, factor] of rounds)
      x = e.node('Add', [e.node('Mul', [scrambled(x, shift), number(factor)]), number(0x9e3779b9)])
    return [e.node('Cast', [scrambled(x, 16)], { to: { dtype: 'i64' } })]
  },
})
/** The hash of words in [0, 2^32), i64 of any shape: what all numbers here are made of. */
export const mixWords = (word: Tensor): Tensor => mixCall([word], {})[0]!

/**
 * Uniform numbers in [0, 1) inside a graph, multiples of 2^-24. `seed` is a key (an input, to draw anew in each run)
 * or a number. Element i equals the i-th draw of `generator(seed)`.
 */
export function uniform(seed: Operand, shape: Shape): Tensor {
  const size: Dim = sizeOf(shape)
  const start = mixWords(keyOf(seed).mod(two32))
  const base = mixWords(start.add(seedOffset).mod(two32))
  const words = mixWords(base.add(mixWords(iota(size, 'i64').mod(two32))).mod(two32))
  return words
    .div(2 ** 8)
    .cast('f32')
    .mul(2 ** -24)
    .reshape(shape)
}

/** Standard normal numbers inside a graph (Box-Muller, up to 5.8 deviations): √(-2 ln(1 - u₁)) cos(2π u₂). */
export function normal(seed: Operand, shape: Shape): Tensor {
  const radius = uniform(fold(seed, 1), shape).neg().add(1).log().mul(-2).sqrt()
  return radius.mul(
    uniform(fold(seed, 2), shape)
      .mul(2 * Math.PI)
      .cos(),
  )
}

/**
 * Booleans that are true with this probability (a number, or f32 that broadcasts to `shape`): `uniform(seed) < p`.
 * Exactly never at 0, always at 1; in between p counts in steps of 2^-24.
 */
export function bernoulli(seed: Operand, probability: Operand, shape: Shape): Tensor {
  if (!(probability instanceof Tensor) && !(probability >= 0 && probability <= 1))
    throw new RangeError(`random: a probability is in [0, 1], got ${probability}`)
  return uniform(seed, shape).less(probability)
}
