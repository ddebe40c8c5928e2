/** How SAEs begin: directions, biases, and the middle of the data. */
import { random, type Tensor, tensor, zeros } from '../../array/index.ts'

export interface SaeSizes {
  readonly dIn: number
  readonly dOut: number
  readonly dSae: number
  /** Reads one site and writes another: b_dec is not taken off the input. */
  readonly transcoder: boolean
}

/** Activations to begin from, [count, width] row-major, scaled as they are in training. */
export interface StartSample {
  readonly count: number
  /** Of the site that is written. */
  readonly y: Float32Array
}

export interface StartOptions {
  readonly seed: number
  /** Of a decoder row. */
  readonly decoderNorm: number
  readonly bias: 'geometric-median' | 'mean' | 'zero'
}

/** Rows in random directions, all alike likely, [rows, width]. */
function directions(rows: number, width: number, norm: number, seed: number): Float32Array {
  const draw = random.gaussian(seed)
  const data = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const at = row * width
    let square = 0
    for (let i = 0; i < width; i++) {
      data[at + i] = draw()
      square += data[at + i]! ** 2
    }
    const factor = norm / Math.sqrt(square)
    for (let i = 0; i < width; i++) data[at + i]! *= factor
  }
  return data
}

function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!
  return out
}

/** Of a transcoder's encoder: it begins near the mean of what it has to give. */
const transcoderNorm = 0.1

/**
 * W_dec of random directions, W_enc its transpose (Gao et al. 2024, appendix A.1: fewer dead latents), b_enc 0, b_dec in
 * the middle of the data (Bricken et al. 2023). A transcoder's two sides have nothing to do with one another, so its
 * encoder has directions of its own.
 */
export function startParams(
  { dIn, dOut, dSae, transcoder }: SaeSizes,
  { seed, decoderNorm, bias }: StartOptions,
  sample: StartSample,
): { W_enc: Tensor; W_dec: Tensor; b_dec: Tensor; b_enc: Tensor } {
  const decoder = directions(dSae, dOut, decoderNorm, random.fold(seed, 1))
  const encoder = transcoder
    ? transposed(directions(dSae, dIn, transcoderNorm, random.fold(seed, 2)), dSae, dIn)
    : transposed(decoder, dSae, dOut)
  const middle = { 'geometric-median': geometricMedian, mean: meanOf, zero: () => new Float32Array(dOut) }[
    bias
  ]
  return {
    W_enc: tensor(encoder, [dIn, dSae]),
    W_dec: tensor(decoder, [dSae, dOut]),
    b_dec: tensor(middle(sample.y, sample.count), [dOut]),
    b_enc: zeros([dSae]),
  }
}

export function meanOf(rows: Float32Array, count: number): Float32Array<ArrayBuffer> {
  const width = rows.length / count
  const sums = new Float64Array(width)
  for (let i = 0; i < rows.length; i++) sums[i % width]! += rows[i]!
  return Float32Array.from(sums, (sum) => sum / count)
}

const [mostRounds, closeEnough, mostRows] = [100, 1e-5, 4096]

/** The point with the least sum of distances to rows (Weiszfeld 1937), of at most 4096 of them. */
export function geometricMedian(rows: Float32Array, count: number): Float32Array<ArrayBuffer> {
  const width = rows.length / count
  const used = Math.min(count, mostRows)
  let guess = meanOf(rows.subarray(0, used * width), used)
  for (let round = 0; round < mostRounds; round++) {
    const sums = new Float64Array(width)
    let weights = 0
    for (let row = 0; row < used; row++) {
      let square = 0
      for (let i = 0; i < width; i++) square += (rows[row * width + i]! - guess[i]!) ** 2
      const weight = 1 / Math.max(Math.sqrt(square), 1e-12)
      weights += weight
      for (let i = 0; i < width; i++) sums[i]! += weight * rows[row * width + i]!
    }
    const next = Float32Array.from(sums, (sum) => sum / weights)
    const moved = Math.sqrt(next.reduce((sum, x, i) => sum + (x - guess[i]!) ** 2, 0))
    guess = next
    if (moved < closeEnough) break
  }
  return guess
}
