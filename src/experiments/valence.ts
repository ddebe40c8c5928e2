/** Words with their mean valence, −4 to 4 (VADER: Hutto and Gilbert 2014). */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { ExperimentContext } from './experiment.ts'

/** Words of letters and apostrophes alone. */
export function valenceLexicon({ data }: Pick<ExperimentContext, 'data'>): Map<string, number> {
  const path = data('data/vader-lexicon/vader_lexicon.txt.gz')
  const lines = gunzipSync(readFileSync(path)).toString('utf8').split('\n')
  return new Map(
    lines.flatMap((line) => {
      const [word, mean] = line.split('\t')
      return word && mean && /^[a-z']+$/.test(word) ? [[word, Number(mean)] as const] : []
    }),
  )
}
