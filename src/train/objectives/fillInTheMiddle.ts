/**
 * Filling in the middle: documents are rearranged so that a left-to-right model learns to write what lies between
 * a beginning and an end (Bavarian et al. 2022, https://arxiv.org/abs/2207.14255).
 *
 *   PSM   <prefix> p <suffix> s <middle> m            SPM   <prefix> <suffix> s <middle> p m
 *
 * A document in a window is rearranged with probability `rate`, as SPM with probability `spm`; its two cuts are drawn
 * uniformly between tokens. All tokens are learned, by next-token prediction. Windows keep their length: as three
 * tokens come in, the last ones of the window make room. Made on the host, from windows by number. rate 0 leaves the
 * windows as they are.
 *
 * Differs from the paper: cuts are between tokens, not characters, so a cut within a word is met only where the
 * tokenizer cuts; a document that ends in the window keeps its end token, one that the window cuts gets none.
 */
import * as z from 'zod'
import { random, tensor } from '../../array/index.ts'
import type { Batches } from '../trainer.ts'
import type { TokenBatch } from './nextToken.ts'
import { rowsOf } from './rows.ts'

const token = z.int().nonnegative()

export const fillInTheMiddleSchema = z.strictObject({
  rate: z.number().min(0).max(1).default(0.5).describe('Share of the documents that are rearranged'),
  spm: z.number().min(0).max(1).default(0.5).describe('Share of these where the suffix comes first'),
  prefix: token,
  middle: token,
  suffix: token,
  end: token.describe('The token that ends a document'),
  begin: token.optional().describe('The token that documents begin with, if they do; it stays in front'),
  seed: z.int().nonnegative().default(1),
})
export type FillInTheMiddleOptions = z.output<typeof fillInTheMiddleSchema>

/** Windows with some of their documents rearranged. */
export const fillInTheMiddle = (
  windows: Batches<TokenBatch>,
  options: FillInTheMiddleOptions,
): Batches<TokenBatch> => ({
  async at(index) {
    const { tokens, mask } = await windows.at(index)
    if (mask) throw new Error('fill-in-the-middle: windows with a mask are not supported')
    const rows = rowsOf(tokens).map((row, i) =>
      rearrangeWindow(row, options, random.generator(random.fold(random.fold(options.seed, index), i))),
    )
    return { tokens: tensor(Int32Array.from(rows.flat()), tokens.sizes) }
  },
})

/** A window of the same length. */
export function rearrangeWindow(
  window: ArrayLike<number>,
  options: FillInTheMiddleOptions,
  uniform: () => number,
): number[] {
  const result: number[] = []
  for (const document of documents(window, options.end)) {
    const room = window.length - result.length
    if (room <= 0) break
    // Drawn for every document, also those that are too short: what follows does not depend on lengths.
    const chosen = uniform() < options.rate
    const ended = document.at(-1) === options.end
    const text = ended ? document.slice(0, -1) : document
    const fitting = text.slice(0, Math.max(0, room - added))
    if (chosen && fitting.length > 1) {
      result.push(...rearrange(fitting, options, uniform))
      if (ended && fitting.length === text.length && result.length < window.length) result.push(options.end)
    } else result.push(...document.slice(0, room))
  }
  return result
}

/** Tokens that come in. */
const added = 3

function rearrange(
  text: readonly number[],
  options: FillInTheMiddleOptions,
  uniform: () => number,
): number[] {
  const { prefix, middle, suffix, begin, spm } = options
  if (text[0] === begin)
    return [begin!, ...rearrange(text.slice(1), { ...options, begin: undefined }, uniform)]
  const cut = (): number => Math.floor(uniform() * (text.length + 1))
  const [from, to] = [cut(), cut()].sort((a, b) => a - b) as [number, number]
  const [p, m, s] = [text.slice(0, from), text.slice(from, to), text.slice(to)]
  return uniform() < spm
    ? [prefix, suffix, ...s, middle, ...p, ...m]
    : [prefix, ...p, suffix, ...s, middle, ...m]
}

/** The documents of a window, each with the token that ends it, if it ends. */
function documents(window: ArrayLike<number>, end: number): number[][] {
  const found: number[][] = [[]]
  for (const token of Array.from(window)) {
    found.at(-1)!.push(token)
    if (token === end) found.push([])
  }
  return found.filter(({ length }) => length > 0)
}
