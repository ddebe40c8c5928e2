/** Norms of activations: the factor that SAEs are trained under. */
import type { ActivationSource, Chunk } from './source.ts'

/** The first rows of a source, at least `count` of them if it has so many. */
export async function sampleOf(source: ActivationSource, count: number): Promise<Chunk> {
  const chunks: Chunk[] = []
  let total = 0
  for (let i = 0; i < source.chunks && total < count; i++) {
    const chunk = await source.at(i)
    chunks.push(chunk)
    total += chunk.count
  }
  const rows = source.options.sites.map((site) => {
    const parts = chunks.map((chunk) => chunk.rows[site]!)
    const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
    let at = 0
    for (const part of parts) {
      all.set(part, at)
      at += part.length
    }
    return [site, all] as const
  })
  return { count: total, rows: Object.fromEntries(rows) }
}

/**
 * √width / mean norm of the rows: what makes rows √width long on average. SAELens calls it `expected_average_only_in`
 * (Anthropic, "Update on how we train SAEs", April 2024).
 */
export function normScale(rows: Float32Array, count: number): number {
  const width = rows.length / count
  let sum = 0
  for (let i = 0; i < count; i++) {
    let square = 0
    for (let j = i * width; j < (i + 1) * width; j++) square += rows[j]! * rows[j]!
    sum += Math.sqrt(square)
  }
  if (!(sum > 0)) throw new Error('activations: all rows are zero, so there is no scale')
  return (Math.sqrt(width) * count) / sum
}
