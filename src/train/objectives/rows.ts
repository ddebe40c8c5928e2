/** Rows of tokens on the host. */
import { type Tensor, tensor } from '../../array/index.ts'

/** The rows of a concrete i32 [batch, T]. */
export function rowsOf(tokens: Tensor): Int32Array[] {
  const [batch, time] = tokens.sizes as [number, number]
  const data = tokens.data as Int32Array
  return Array.from({ length: batch }, (_, i) => data.subarray(i * time, (i + 1) * time))
}

/** Rows of any lengths as tokens i32 [batch, T] and mask f32 [batch, T], padded at the end. */
export function paddedRows(
  rows: readonly ArrayLike<number>[],
  { pad = 0, length = 0 }: { readonly pad?: number; readonly length?: number } = {},
): { readonly tokens: Tensor; readonly mask: Tensor } {
  const time = rows.reduce((longest, row) => Math.max(longest, row.length), length)
  const tokens = new Int32Array(rows.length * time).fill(pad)
  const mask = new Float32Array(rows.length * time)
  rows.forEach((row, i) => {
    tokens.set(row, i * time)
    mask.fill(1, i * time, i * time + row.length)
  })
  return { tokens: tensor(tokens, [rows.length, time]), mask: tensor(mask, [rows.length, time]) }
}

/** A prompt and its answer. */
export interface Answered {
  readonly prompt: readonly number[]
  readonly answer: readonly number[]
}

/** Prompts with their answers as rows; mask has 1 for the answers' tokens. */
export function answerRows(
  rows: readonly Answered[],
  options: { readonly pad?: number; readonly length?: number } = {},
): { readonly tokens: Tensor; readonly mask: Tensor } {
  const made = paddedRows(
    rows.map(({ prompt, answer }) => [...prompt, ...answer]),
    options,
  )
  const [, time] = made.mask.sizes as [number, number]
  const mask = made.mask.data as Float32Array
  rows.forEach(({ prompt }, i) => {
    mask.fill(0, i * time, i * time + prompt.length)
  })
  return made
}
