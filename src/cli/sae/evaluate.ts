/** `glossa sae eval`: metrics of SAEs in their model, on the text that is held out. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { densityHistogram, type Evaluation, evaluateSae } from '../../interp/index.ts'
import { lines } from '../../plot/index.ts'
import { writeAtomic } from '../../store/file.ts'
import { Progress, print, printJson, short, table } from '../terminal.ts'
import { type Looking, newEngine, openOpen, openSae, openText } from './common.ts'

type Named = Evaluation & { readonly name: string }

/** In the order of SAELens' groups. */
const shown = [
  'ce_loss_score',
  'ce_loss_without_sae',
  'ce_loss_with_sae',
  'ce_loss_with_ablation',
  'kl_div_score',
  'kl_div_with_sae',
  'explained_variance',
  'mse',
  'cossim',
  'l2_ratio',
  'relative_reconstruction_bias',
  'l0',
  'l1',
  'dead_features',
  'tokens',
] as const

/** A column for each SAE. */
export function metricRows(saes: readonly Named[]): string {
  const right = saes.map((_, i) => i + 1)
  return table(
    [
      ['', ...saes.map(({ name }) => name)],
      ...shown.map((metric) => [metric, ...saes.map(({ metrics }) => short(metrics[metric]))]),
    ],
    right,
  )
}

/** log10 of feature densities as bars of text. */
export function densityBars({ feature_density }: Pick<Evaluation, 'feature_density'>): string {
  const bins = densityHistogram(feature_density, 0.5)
  const most = Math.max(...bins.map(({ count }) => count))
  return table(
    bins.map(({ from, count }) => [
      `10^${from.toFixed(1)}`,
      `${count}`,
      '█'.repeat(Math.ceil((40 * count) / most)),
    ]),
    [0, 1],
  )
}

export async function evaluate(given: Looking): Promise<number> {
  const { model: name, sae: folders, file, tokens, heldOut = 0.02, length, out, json } = given
  await using engine = newEngine(given)
  const model = await openOpen(engine, name)
  const text = await openText(model, file, heldOut)
  const found: Named[] = []
  for (const folder of folders) {
    const sae = await openSae(folder, model, text, json)
    let progress: Progress | undefined
    const result = await evaluateSae({
      ...{ model, sae, tokens: text.heldOut, begin: text.begin, exclude: text.exclude },
      ...(length !== undefined && { length }),
      ...(tokens !== undefined && { most: tokens }),
      progress: (done, of) => {
        progress ??= new Progress(`evaluating ${folder}`, of)
        progress.update(done)
      },
    })
    found.push({ name: folder, ...result })
  }
  const plot = out === undefined ? undefined : draw(out, found)
  if (json) {
    printJson({
      model: name,
      plot,
      saes: found.map(({ name, metrics, feature_density }) => ({
        sae: name,
        ...metrics,
        feature_density_histogram: densityHistogram(feature_density),
        feature_density,
      })),
    })
    return 0
  }
  print(metricRows(found))
  for (const one of found) {
    print(`\nfeatures of ${one.name} by the share of tokens on which they are active\n`)
    print(densityBars(one))
  }
  if (plot) print(`\nplot  ${plot}\n`)
  return 0
}

function draw(folder: string, found: readonly Named[]): string {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'density.svg')
  const series = found.map(({ name, feature_density }) => ({
    name,
    points: densityHistogram(feature_density).map(({ from, count }) => ({ x: from + 0.125, y: count })),
  }))
  const svg = lines(series, {
    title: 'Feature density',
    x: 'log10 of the share of tokens on which a feature is active',
    y: 'features',
  })
  writeAtomic(path, (put) => put(Buffer.from(svg)))
  return path
}
