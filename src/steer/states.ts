/** States of whole texts: a vector for each text and site. */
import type { Model } from '../model/index.ts'

export interface StateOptions {
  /** The state of the last token, or the mean over all but the begin token; `last` by default. */
  readonly pooling?: 'last' | 'mean'
  /** Texts that run at once. */
  readonly batch?: number
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (done: number, total: number) => void
}

/** f32 [width] of each text at each site [batch, T, width]. Texts are cut at the model's context. */
export async function statesOf(
  model: Model,
  texts: readonly string[],
  sites: readonly string[],
  { pooling = 'last', batch = 8, signal, onProgress }: StateOptions = {},
): Promise<Map<string, Float32Array[]>> {
  const { tokenizer } = model
  if (!tokenizer) throw new Error(`${model.path} has no tokenizer, which texts need`)
  const rows = texts.map((text) => tokenizer.encode(text).ids.slice(0, model.context))
  const empty = rows.findIndex((row) => row.length === 0)
  if (empty >= 0) throw new Error(`text ${empty + 1} is empty`)
  const states = new Map<string, Float32Array[]>(sites.map((site) => [site, []]))
  for (let from = 0; from < rows.length; from += batch) {
    signal?.throwIfAborted()
    const own = rows.slice(from, from + batch)
    const longest = Math.max(...own.map((row) => row.length))
    // Padding behind the tokens is hidden from them by the causal mask.
    const padded = own.map((row) => [...row, ...new Array<number>(longest - row.length).fill(0)])
    const read = await model.run(padded, { read: sites })
    for (const site of sites) {
      const data = (await read[site]!.load()) as Float32Array
      const width = read[site]!.sizes[2]!
      for (const [i, row] of own.entries()) {
        const begins = row[0] === tokenizer.bos && row.length > 1 ? 1 : 0
        const first = pooling === 'last' ? row.length - 1 : begins
        states
          .get(site)!
          .push(meanOfPositions(data, (i * longest + first) * width, row.length - first, width))
      }
      read[site]!.dispose()
    }
    onProgress?.(from + own.length, rows.length)
  }
  return states
}

function meanOfPositions(data: Float32Array, from: number, count: number, width: number): Float32Array {
  const mean = new Float64Array(width)
  for (let t = 0; t < count; t++)
    for (let i = 0; i < width; i++) mean[i]! += data[from + t * width + i]! / count
  return Float32Array.from(mean)
}
