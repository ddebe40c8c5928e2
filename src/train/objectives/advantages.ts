/** From rewards to advantages, on the host: lists have an entry for each token of an answer. */

/**
 * Generalized advantage estimation (Schulman et al. 2016, https://arxiv.org/abs/1506.02438, eq. 16).
 *
 *   δ[t] = r[t] + γ V[t+1] − V[t],   A[t] = δ[t] + γ λ A[t+1],   after the last token V = A = 0;   return = A + V
 */
export function generalizedAdvantages(
  rewards: readonly number[],
  values: readonly number[],
  { gamma, lambda }: { readonly gamma: number; readonly lambda: number },
): { readonly advantages: number[]; readonly returns: number[] } {
  const advantages = new Array<number>(rewards.length)
  let [after, next] = [0, 0]
  for (let t = rewards.length - 1; t >= 0; t--) {
    const delta = rewards[t]! + gamma * next - values[t]!
    after = delta + gamma * lambda * after
    advantages[t] = after
    next = values[t]!
  }
  return { advantages, returns: advantages.map((advantage, t) => advantage + values[t]!) }
}

/** Lists with the mean of all their numbers taken off, divided by their deviation. */
export function normalizedLists(lists: readonly (readonly number[])[]): number[][] {
  const { mean, deviation } = statistics(lists.flat())
  return lists.map((list) => list.map((x) => (x - mean) / (deviation + 1e-8)))
}

/**
 * Each reward against those of its group: (r − mean) / (deviation + 1e-4), or r − mean (Liu et al. 2025). A group in
 * which all are alike has nothing to learn from: zeros.
 */
export function groupAdvantages(
  rewards: readonly { readonly group: number; readonly reward: number }[],
  scaled: boolean,
): number[] {
  const groups = new Map<number, number[]>()
  for (const { group, reward } of rewards) groups.set(group, [...(groups.get(group) ?? []), reward])
  for (const [group, members] of groups)
    if (members.length < 2)
      throw new RangeError(`group ${group} has one answer: nothing to compare it with; draw more samples`)
  const found = new Map([...groups].map(([group, members]) => [group, statistics(members)]))
  return rewards.map(({ group, reward }) => {
    const { mean, deviation } = found.get(group)!
    return scaled ? (reward - mean) / (deviation + 1e-4) : reward - mean
  })
}

/** Deviation of a sample: squares are divided by n − 1. */
function statistics(numbers: readonly number[]): { mean: number; deviation: number } {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length
  const squares = numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0)
  return { mean, deviation: numbers.length > 1 ? Math.sqrt(squares / (numbers.length - 1)) : 0 }
}
