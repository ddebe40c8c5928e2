/** How well scores tell two groups apart. */

/**
 * The area under the ROC curve: how likely a score of `yes` is above one of `no`, ties counting half (the statistic of
 * Mann and Whitney over the number of pairs). 0.5 is chance.
 */
export function auroc(yes: readonly number[], no: readonly number[]): number {
  if (yes.length === 0 || no.length === 0) throw new RangeError('auroc: both groups need scores')
  const all = [...yes.map((score) => ({ score, is: 1 })), ...no.map((score) => ({ score, is: 0 }))]
  for (const { score } of all) if (Number.isNaN(score)) throw new RangeError('auroc: a score is NaN')
  all.sort((a, b) => a.score - b.score)
  let [ranks, at] = [0, 0]
  while (at < all.length) {
    let end = at
    while (end < all.length && all[end]!.score === all[at]!.score) end++
    const rank = (at + 1 + end) / 2
    for (let i = at; i < end; i++) ranks += all[i]!.is * rank
    at = end
  }
  return (ranks - (yes.length * (yes.length + 1)) / 2) / (yes.length * no.length)
}

/** The mean of the shares of both groups that a threshold puts on their side; above it is yes. */
export function balancedAccuracy(yes: readonly number[], no: readonly number[], threshold: number): number {
  const share = (scores: readonly number[], right: (score: number) => boolean): number =>
    scores.filter(right).length / scores.length
  return (share(yes, (score) => score > threshold) + share(no, (score) => score <= threshold)) / 2
}

/** The threshold of the best balanced accuracy: between two scores, the lowest of those that are as good. */
export function bestThreshold(yes: readonly number[], no: readonly number[]): number {
  const all = [
    ...yes.map((score) => [score, 1 / yes.length] as const),
    ...no.map((score) => [score, -1 / no.length] as const),
  ]
  all.sort((a, b) => a[0] - b[0])
  // Above everything below the first score: all are said to be yes.
  let [gain, best, threshold] = [0, 0, (all[0]?.[0] ?? 0) - 1]
  for (let i = 0; i < all.length; i++) {
    gain -= all[i]![1]
    const next = all[i + 1]?.[0]
    if (next === all[i]![0] || next === undefined) continue
    if (gain > best + 1e-12) [best, threshold] = [gain, (all[i]![0] + next) / 2]
  }
  return threshold
}

/** Pearson's correlation; 0 where one of the two does not vary. */
export function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length
  if (n !== b.length) throw new RangeError(`correlation: ${n} and ${b.length} numbers`)
  let [sumA, sumB] = [0, 0]
  for (let i = 0; i < n; i++) {
    sumA += a[i]!
    sumB += b[i]!
  }
  let [both, own, other] = [0, 0, 0]
  for (let i = 0; i < n; i++) {
    const [x, y] = [a[i]! - sumA / n, b[i]! - sumB / n]
    both += x * y
    own += x * x
    other += y * y
  }
  return own === 0 || other === 0 ? 0 : both / Math.sqrt(own * other)
}
