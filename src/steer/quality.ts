/** What steering costs: how texts repeat themselves, and how likely another model finds them. */

/** Runs of `n` neighbours. */
function* runs(tokens: readonly number[], n: number): Generator<string> {
  for (let i = 0; i + n <= tokens.length; i++) yield tokens.slice(i, i + n).join(' ')
}

/** Different n-grams of all texts over their number (distinct-n, Li et al. 2016); higher is more diverse. */
export function distinct(texts: readonly (readonly number[])[], n: number): number {
  const all = texts.flatMap((tokens) => [...runs(tokens, n)])
  return all.length === 0 ? Number.NaN : new Set(all).size / all.length
}

/** Share of the n-grams of each text that it had before (rep-n, Welleck et al. 2020), a mean over texts. */
export function repetition(texts: readonly (readonly number[])[], n = 4): number {
  const shares = texts.flatMap((tokens) => {
    const all = [...runs(tokens, n)]
    return all.length === 0 ? [] : [1 - new Set(all).size / all.length]
  })
  return shares.length === 0 ? Number.NaN : shares.reduce((a, b) => a + b, 0) / shares.length
}
