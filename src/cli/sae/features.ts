/** `glossa sae features`: searches what `glossa sae explain` has written. */
import { readExplanations, searchExplanations } from '../../interp/sae/explain/file.ts'
import type { SaeFlags } from '../sae.ts'
import { print, printable, printJson, short, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'
import { described } from './explain.ts'

const shown = 20

export function features(given: SaeFlags): number {
  const { sae: folders, feature, search = '', top = shown, json } = given
  for (const key of ['model', 'file', 'tokens', 'length'] as const)
    if (given[key] !== undefined) throw new UsageError(`--${key} is not for sae features: it reads a file`)
  if (!folders || folders.length > 1) throw new UsageError('sae features takes one --sae')
  const all = readExplanations(folders[0]!)
  const found = feature
    ? feature.map((number) => {
        const one = all.features.find((entry) => entry.feature === number)
        if (!one) throw new RangeError(`${folders[0]}: there is no explanation of feature ${number}`)
        return one
      })
    : searchExplanations(all, search)
  if (json) {
    printJson({ ...all, sae: folders[0], features: found })
    return 0
  }
  if (feature) {
    print(printable(found.map(described).join('\n')))
    return 0
  }
  const rows = found
    .slice(0, top)
    .map(({ feature: number, density, explanation, scores }) => [
      `${number}`,
      `${short(100 * density)} %`,
      scores ? short(scores.detection) : '-',
      scores ? short(scores.fuzzing) : '-',
      printable((explanation ?? '').slice(0, 120)),
    ])
  print(table([['feature', 'density', 'detection', 'fuzzing', 'explanation'], ...rows], [0, 1, 2, 3]))
  if (found.length > top) print(`and ${found.length - top} more: --top ${found.length} shows all\n`)
  return 0
}
