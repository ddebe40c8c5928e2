/** Batches from one long row of tokens. */
import { random } from '../../src/array/index.ts'

/**
 * Endless batches i32 [batch, length + 1]: in each row `length` tokens are given and, one place on, asked for.
 * An epoch cuts the tokens into windows, from another place each time, and takes every window once.
 */
export function* batches(
  tokens: Int32Array,
  batch: number,
  length: number,
  seed: number,
): Generator<Int32Array> {
  const uniform = random.generator(seed)
  let windows: number[] = []
  for (;;) {
    while (windows.length < batch) windows = [...windows, ...epoch(tokens.length, length, uniform)]
    const rows = new Int32Array(batch * (length + 1))
    for (let row = 0; row < batch; row++) {
      const at = windows[row]!
      rows.set(tokens.subarray(at, at + length + 1), row * (length + 1))
    }
    windows = windows.slice(batch)
    yield rows
  }
}

/** Where the windows of an epoch begin, in random order. */
function epoch(count: number, length: number, uniform: () => number): number[] {
  if (count < 2 * length) throw new Error(`${count} tokens are too few for windows of ${length}`)
  const starts: number[] = []
  for (let at = Math.floor(uniform() * length); at + length + 1 <= count; at += length) starts.push(at)
  for (let i = starts.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[starts[i], starts[j]] = [starts[j]!, starts[i]!]
  }
  return starts
}
