/**
 * Order of the rows of query and key matrices. A rotary pair is rows i and i + size / 2 of a head in Hugging
 * Face's layout (halves), and rows 2i and 2i + 1 in Meta's, llama2.c's and GGUF's (neighbours).
 */
export type RowOrder = 'halves' | 'neighbours'

/**
 * The rows in the other order, in new memory.
 *
 * @param rows a matrix [heads * size, in], row-major, of any element type; `size` is even
 */
export function reorderRows(rows: Uint8Array, heads: number, size: number, to: RowOrder): Uint8Array {
  const bytes = rows.length / (heads * size)
  const half = size / 2
  const out = new Uint8Array(rows.length)
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < size; i++) {
      // Row i of the halves is row `other` of the neighbours.
      const other = i < half ? 2 * i : 2 * (i - half) + 1
      const [source, target] = to === 'neighbours' ? [i, other] : [other, i]
      const from = (head * size + source) * bytes
      out.set(rows.subarray(from, from + bytes), (head * size + target) * bytes)
    }
  return out
}
