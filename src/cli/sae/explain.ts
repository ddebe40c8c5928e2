/** `glossa sae explain`: what features are, by rules made of token statistics, and how well that holds elsewhere. */
import { type Explanation, writeExplanations } from '../../interp/sae/explain/file.ts'
import { explainSae } from '../../interp/sae/explain/run.ts'
import { interruptible, Progress, print, printJson, short, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'
import { type Looking, newEngine, openOpen, openSae, openText } from './common.ts'

const [explainedOn, scoredShare] = [131_072, 0.5]

export async function explain(given: Looking): Promise<number> {
  const { model: name, sae: folders, file, tokens = explainedOn, length, feature, top, json } = given
  if (folders.length > 1) throw new UsageError('sae explain takes one --sae')
  await using engine = newEngine(given)
  const model = await openOpen(engine, name)
  const text = await openText(model, file, 0.02)
  const sae = await openSae(folders[0]!, model, text, json)
  // Explanations come from the first part, and are scored on what follows it.
  const most = Math.min(tokens, Math.floor(text.learned.length / (1 + scoredShare)))
  const explaining = text.learned.subarray(0, most)
  const scoring = text.learned.subarray(most, Math.floor(most * (1 + scoredShare)))
  let progress: Progress | undefined
  const features = await interruptible((signal) =>
    explainSae({
      ...{ model, sae, explaining, scoring, begin: text.begin, exclude: text.exclude, signal },
      ...(feature && { features: feature }),
      ...(length !== undefined && { length }),
      ...(top !== undefined && { top }),
      progress: (done, of) => {
        progress ??= new Progress('reading contexts', of)
        progress.update(done)
      },
    }),
  )
  const about = { model: name, explainer: 'rules', explainedOn: explaining.length, scoredOn: scoring.length }
  // A file of some features would take the place of one of all.
  const path = feature ? undefined : writeExplanations(folders[0]!, { ...about, features })
  if (json) {
    printJson({ ...about, sae: folders[0], file: path, features })
    return 0
  }
  if (feature) print(features.map(described).join('\n'))
  else print(summary(features, path!))
  return 0
}

/** A feature with its scores and contexts. */
export function described({ feature, density, explanation, top, scores }: Explanation): string {
  const held = scores
    ? `detection ${short(scores.detection)}, fuzzing ${short(scores.fuzzing)}, simulation ${short(scores.simulation)}`
    : 'too rare to score'
  return [
    `feature ${feature}  active on ${short(100 * density)} % of the tokens  ${held}\n`,
    `  ${explanation ?? 'too rare to explain'}\n`,
    ...top.map(({ activation, text }) => `  ${activation.toFixed(2).padStart(6)}  ${text}\n`),
  ].join('')
}

function summary(features: readonly Explanation[], path: string): string {
  const scored = features.flatMap(({ scores }) => scores ?? [])
  const mean = (of: (one: (typeof scored)[number]) => number): string =>
    scored.length === 0 ? '-' : short(scored.reduce((sum, one) => sum + of(one), 0) / scored.length)
  return table([
    ['features', `${features.length}`],
    ['explained', `${features.filter(({ explanation }) => explanation !== undefined).length}`],
    ['scored', `${scored.length}`],
    ['detection (AUROC)', mean(({ detection }) => detection)],
    ['fuzzing (AUROC)', mean(({ fuzzing }) => fuzzing)],
    ['simulation (correlation)', mean(({ simulation }) => simulation)],
    ['file', path],
  ])
}
