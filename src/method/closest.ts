/** "Did you mean": the names nearest to one that is not there. */

/** Insertions, deletions, substitutions and swaps of neighbours between two words (Damerau 1964, restricted). */
function distance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [i, ...new Array<number>(b.length).fill(0)])
  for (let j = 0; j <= b.length; j++) rows[0]![j] = j
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1)
      rows[i]![j] = best
    }
  return rows[a.length]![b.length]!
}

/** Up to three names, nearest first: those with the word in them, or no more than a third of it away. */
export function closest(word: string, names: readonly string[]): string[] {
  const scored = names.map((name) => ({
    name,
    off: name.includes(word) || word.includes(name) ? 0 : distance(word.toLowerCase(), name.toLowerCase()),
  }))
  return scored
    .filter(({ off }) => off <= Math.max(1, Math.floor(word.length / 3)))
    .sort((a, b) => a.off - b.off || a.name.localeCompare(b.name))
    .slice(0, 3)
    .map(({ name }) => name)
}
