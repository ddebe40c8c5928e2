/**
 * WaveletGPT (Verma 2024, https://arxiv.org/abs/2409.12924): behind each block, a part of the dimensions are moving
 * averages over the past, each with its own window. There are no parameters.
 *
 *   y[t, i] = 1 / n Σ_{s = t − n + 1}^{t} x[s, i],   n = min(window(i), t + 1)
 *
 * The averages are the approximation coefficients of the causal Haar wavelet, undecimated. Of `width` dimensions the
 * first stay as they are, the last `share` are averaged: window(i) is 2^F with F rising from 0 to log2(largest) in
 * equal parts of them.
 *
 * An edit of `blocks.N.hook_resid_post`, x [batch, T, width]. `largest` 1 and `share` 0 are the identity. A model must be
 * trained with it. It needs all positions at once, so it is refused where past tokens are in a cache.
 *
 * Differs from the paper: the first positions average what there is, instead of zeros before the text.
 */
import * as z from 'zod'
import { concat, iota, scalar, type Tensor } from '../../array/index.ts'
import { method } from '../../method/index.ts'
import type { EditFunction } from '../edits.ts'
import type { DecoderSpec } from '../spec.ts'

export const waveletGptSchema = z.strictObject({
  share: z.number().min(0).max(1).default(0.5).describe('Share of the dimensions that are averaged'),
  largest: z
    .int()
    .positive()
    .refine((window) => Number.isInteger(Math.log2(window)), 'a window is a power of two')
    .default(512)
    .describe('Positions of the widest window, a power of two; the training length at most makes sense'),
})

/** How many of `count` dimensions have the window 2^F, for F from 0. */
export function windowCounts(count: number, largest: number): number[] {
  const scales = Math.log2(largest) + 1
  const counts = new Array<number>(scales).fill(0)
  for (let i = 0; i < count; i++) counts[Math.floor((scales * i) / count)]!++
  return counts
}

/** x [batch, T, width] with moving averages in its last dimensions. */
export function haarAverages(x: Tensor, { share, largest }: z.output<typeof waveletGptSchema>): Tensor {
  const [, time, width] = x.shape as [never, Tensor['shape'][number], number]
  const averaged = Math.floor(width * share)
  if (averaged === 0 || largest === 1) return x
  const counts = windowCounts(averaged, largest)
  const seen = iota(time).add(scalar(1, 'i32')).cast('f32')
  /** Window 1, as what is not averaged. */
  const plain = width - averaged + counts[0]!
  const parts = [x.slice(-1, 0, plain)]
  let sums = x.slice(-1, plain)
  // A window of 2w is two of w: sums of the dimensions that have wider windows go on, the others are done.
  counts.slice(1).forEach((count, level) => {
    const half = 2 ** level
    const earlier = sums.pad(1, half, 0).slice(1, 0, time)
    sums = sums.add(earlier)
    if (count === 0) return
    const means = sums.slice(-1, 0, count).div(seen.minimum(2 * half).expandDims(-1))
    parts.push(means)
    if (count < (sums.shape.at(-1) as number)) sums = sums.slice(-1, count)
  })
  return concat(parts as [Tensor, ...Tensor[]], -1)
}

/** The edits of all blocks, by site. */
export function waveletGpt(
  spec: DecoderSpec,
  options: z.output<typeof waveletGptSchema>,
): Record<string, EditFunction> {
  const edit: EditFunction = Object.assign((x: Tensor) => haarAverages(x, options), {
    wholeSequence: 'WaveletGPT averages over past activations, which the cache does not hold',
  })
  return Object.fromEntries(
    Array.from({ length: spec.layers }, (_, layer) => [`blocks.${layer}.hook_resid_post`, edit]),
  )
}

export default method({
  id: 'wavelet-gpt',
  title: 'WaveletGPT',
  socket: 'architecture',
  paper: 11,
  source: 'Verma 2024, https://arxiv.org/abs/2409.12924',
  summary: 'Causal moving averages of several widths on half of the dimensions behind each block.',
  options: waveletGptSchema,
  make: (options) => (spec: DecoderSpec) => waveletGpt(spec, options),
})
