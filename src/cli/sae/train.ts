/** `glossa sae train`: SAEs by a recipe, or one by flags. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { densityHistogram } from '../../interp/index.ts'
import { parseSaeRecipe, type SaeRecipe } from '../../interp/sae/recipe.ts'
import { stepsOf, trainSaes } from '../../interp/sae/train.ts'
import { stateFile } from '../../train/run/run.ts'
import { locateModel } from '../hub.ts'
import type { SaeFlags } from '../sae.ts'
import { duration, StepBar } from '../stepBar.ts'
import { exitCode, interruptible, note, print, printJson, short, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'
import { newEngine } from './common.ts'
import { metricRows } from './evaluate.ts'

export async function train(given: SaeFlags): Promise<number> {
  const { recipe, base } = given.recipe === undefined ? await byFlags(given) : fromFile(given)
  const folder = given.out ?? join('runs', recipe.name)
  await using engine = newEngine(given)
  const bar = new StepBar(stepsOf(recipe))
  const { trained, code } = await interruptible(async (signal) => {
    const trained = await trainSaes({
      engine,
      recipe,
      base,
      folder,
      resume: given.resume && existsSync(join(folder, stateFile)),
      signal,
      onNote: (text) => {
        if (!given.json) note(text)
      },
      onStep: (report) => bar.step(report.step, report.loss, report.weight),
    })
    return { trained, code: exitCode(signal) }
  })
  const { progress, end, curve, saes, tokensPerSecond } = trained
  if (given.json) {
    printJson({
      end,
      folder,
      curve,
      ...progress,
      tokensPerSecond,
      saes: saes.map(({ name, folder, metrics, feature_density }) => ({
        name,
        folder,
        ...metrics,
        feature_density_histogram: densityHistogram(feature_density),
      })),
    })
    return code
  }
  if (end === 'interrupted') {
    const again =
      given.recipe === undefined
        ? 'the same command with --resume'
        : `glossa sae train --recipe ${given.recipe} --resume`
    print(`stopped after step ${progress.step}; go on with ${again}${given.out ? ` -o ${given.out}` : ''}\n`)
    return code
  }
  print(metricRows(saes))
  print(
    table([
      ['', ''],
      ['time', `${duration(progress.seconds)}, ${short(tokensPerSecond)} tokens/s`],
      ...saes.map(({ name, folder }) => [name, folder]),
      ...(curve ? [['curve', curve]] : []),
    ]),
  )
  return code
}

function fromFile(given: SaeFlags): { recipe: SaeRecipe; base: string } {
  const path = given.recipe!
  const replaced = Object.entries({
    '--model': given.model,
    '--file': given.file,
    '--site': given.site,
    '--site-out': given.siteOut,
    '--kind': given.kind,
    '--k': given.k,
    '--expansion': given.expansion,
    '--seed': given.seed,
    '--batch': given.batch,
    '--rate': given.rate,
    '--held-out': given.heldOut,
    '--length': given.length,
  }).find(([, value]) => value !== undefined)
  if (replaced) throw new UsageError(`${replaced[0]} is a matter of the recipe: change it there`)
  if (!existsSync(path)) throw new Error(`${path}: there is no such file`)
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Error(`${path}: not JSON: ${(error as Error).message}`)
  }
  const recipe = parseSaeRecipe(json, path)
  return { recipe: { ...recipe, tokens: given.tokens ?? recipe.tokens }, base: dirname(path) }
}

/** One SAE, by flags. */
async function byFlags(given: SaeFlags): Promise<{ recipe: SaeRecipe; base: string }> {
  const { model, site, file, siteOut, kind, k, expansion, seed, batch, rate, tokens, heldOut, length } = given
  for (const [flag, value] of Object.entries({ '--model': model, '--site': site, '--file': file }))
    if (value === undefined) throw new UsageError(`${flag} is missing: sae train needs it, or a --recipe`)
  const chosen = kind ?? 'topk'
  if (k !== undefined && !/topk$/.test(chosen))
    throw new UsageError(`--k is of topk and batchtopk, not of ${chosen}`)
  const recipe = {
    name: `sae-${chosen}`,
    model: await locateModel(model!),
    data: { files: file!.map((path) => ({ file: path })), ...(heldOut !== undefined && { heldOut }) },
    saes: [
      {
        site: site!.length === 1 ? site![0] : site,
        ...(siteOut !== undefined && { siteOut }),
        architecture: { kind: chosen, ...(k !== undefined && { k }) },
        ...(expansion !== undefined && { expansion }),
        ...(seed !== undefined && { seed }),
      },
    ],
    ...(batch !== undefined && { batch }),
    ...(length !== undefined && { length }),
    ...(tokens !== undefined && { tokens }),
    ...(rate !== undefined && { optimizer: { kind: 'adamw', rate } }),
  }
  return { recipe: parseSaeRecipe(recipe, 'sae train'), base: '.' }
}
