/** Timing: medians of repeated runs, and pairs of runs that take turns. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Milliseconds of `count` runs after one that is not counted. */
export async function milliseconds(count: number, run: () => Promise<unknown>): Promise<number[]> {
  await run()
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  }
  return times
}

export interface Ratio {
  /** Median of our figure and of the peer's. */
  readonly ours: number
  readonly peer: number
  /** Median, least and greatest of the ratios of neighbouring runs: how many times faster we are. */
  readonly ratio: number
  readonly low: number
  readonly high: number
}

/** Times two things in turns, so that a change of the machine's speed meets both. */
export async function race(
  rounds: number,
  ours: () => Promise<number>,
  peer: () => Promise<number>,
): Promise<Ratio> {
  const pairs: [number, number][] = []
  for (let i = 0; i < rounds; i++) {
    // Whoever goes first changes, so that a slope of the machine's speed favours nobody.
    if (i % 2 === 0) pairs.push([await ours(), await peer()])
    else {
      const second = await peer()
      pairs.push([await ours(), second])
    }
  }
  const ratios = pairs.map(([a, b]) => b / a)
  return {
    ours: median(pairs.map(([a]) => a)),
    peer: median(pairs.map(([, b]) => b)),
    ratio: median(ratios),
    low: Math.min(...ratios),
    high: Math.max(...ratios),
  }
}
