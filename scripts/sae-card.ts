/**
 * Puts trained SAEs into models/saes, with explanations of their most active features and a card in which every figure
 * is measured here. Needs the run's folder and the texts that its recipe names.
 *
 *   npx tsx scripts/sae-card.ts models/saes --recipe recipes/saes.json --run ../runs/saes
 */
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { weightsOf } from '../src/experiments/result.ts'
import { evaluateSae } from '../src/interp/index.ts'
import { type Explanation, writeExplanations } from '../src/interp/sae/explain/file.ts'
import { explainSae } from '../src/interp/sae/explain/run.ts'
import { readSae } from '../src/interp/sae/files/index.ts'
import { parseSaeRecipe } from '../src/interp/sae/recipe.ts'
import { openSaeText } from '../src/interp/sae/train.ts'
import { Model } from '../src/model/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    recipe: { type: 'string', default: join(root, 'recipes', 'saes.json') },
    run: { type: 'string', default: join(root, '../runs/saes') },
    assets: { type: 'string', default: join(root, '../shared/assets') },
    features: { type: 'string', default: '200' },
    /** That explanations are made from; half as many score them, and a quarter measures the SAE. */
    tokens: { type: 'string', default: '262144' },
  },
})
const target = resolve(positionals[0]!)
const explainedOn = Number(values.tokens)
const [scoredOn, evaluatedOn] = [explainedOn / 2, explainedOn / 4]

const recipe = parseSaeRecipe(JSON.parse(readFileSync(values.recipe, 'utf8')), values.recipe)
const path = join(root, 'models', basename(recipe.model))
const engine = new Engine(nodeRuntime({ threads: 1 }))
const model = Model.open(path, engine)
const at = (file: string): string =>
  file
    .replace(/^(\.\.\/)+shared\/assets/, resolve(values.assets))
    .replace(/^(\.\.\/)+runs/, dirname(values.run))
const text = await openSaeText(model, recipe, at, console.error)

const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length
const rows: string[][] = []
const examples: string[] = []
let bytes = 0

for (const { name } of recipe.saes) {
  const folder = join(target, name!)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  cpSync(join(values.run, 'last', name!), folder, { recursive: true })
  const { sae } = readSae(folder)
  const about = { begin: text.begin, exclude: text.exclude }
  console.error(`evaluating ${name} ...`)
  const { metrics, feature_density } = await evaluateSae({
    ...{ model, sae, tokens: text.heldOut, length: recipe.length, most: evaluatedOn, ...about },
  })
  const active = [...feature_density.keys()]
    .sort((a, b) => feature_density[b]! - feature_density[a]!)
    .slice(0, Number(values.features))
  console.error(`explaining ${active.length} features of ${name} ...`)
  const features = await explainSae({
    ...{ model, sae, features: active.sort((a, b) => a - b), ...about },
    explaining: text.learned.subarray(0, explainedOn),
    scoring: text.learned.subarray(explainedOn, explainedOn + scoredOn),
  })
  writeExplanations(folder, {
    ...{ model: basename(path), explainer: 'rules', explainedOn, scoredOn, features },
  })
  for (const file of ['sae_weights.safetensors', 'explanations.json'])
    bytes += statSync(join(folder, file)).size
  const scores = features.flatMap((feature) => feature.scores ?? [])
  rows.push([
    `\`${name}\``,
    metrics.ce_loss_score.toFixed(3),
    metrics.explained_variance.toFixed(3),
    metrics.l0.toFixed(1),
    metrics.kl_div_score.toFixed(3),
    `${((100 * metrics.dead_features) / sae.config.dSae).toFixed(1)} %`,
    mean(scores.map(({ detection }) => detection)).toFixed(3),
  ])
  const best = features
    .filter(({ explanation, scores }) => explanation && scores)
    .sort((a, b) => b.scores!.detection - a.scores!.detection)[0]
  if (best) examples.push(example(name!, best))
}

function example(sae: string, { feature, explanation, density, scores, top }: Explanation): string {
  const contexts = top.map(({ text: context }) => `  - ${context.replaceAll('\n', ' ')}`).join('\n')
  return `- \`${sae}\`, feature ${feature} (active on ${(100 * density).toFixed(2)} % of the tokens, detection ${scores!.detection.toFixed(2)}): ${explanation}\n${contexts}`
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
const { dSae, dIn } = readSae(join(target, recipe.saes[0]!.name!)).sae.config
writeFileSync(
  join(target, 'README.md'),
  `# SAEs of the default model

${recipe.description} ${dSae} features of ${dIn} dimensions each, in SAELens' layout (f16), ${(bytes / 1e6).toFixed(1)} MB with explanations.
They belong to the weights ${weightsOf(path)} (SHA-256) of \`models/${basename(path)}\`.

\`\`\`sh
glossa sae train --recipe ${relative(root, resolve(values.recipe))} -o ../runs/saes
npx tsx scripts/sae-card.ts ${relative(root, target)} --run ../runs/saes
\`\`\`

${recipe.tokens.toLocaleString('en')} tokens of TinyStories (CDLA-Sharing-1.0) each; the last 2 % of the stories of each file are held out, and the
first five columns are of ${evaluatedOn.toLocaleString('en')} of their tokens. Explanations of the ${values.features} most active features are rules of tokens that
other tokens have confirmed: \`detection\` is the mean AUROC on text that they were not made from (0.5 is chance).

${row(['', 'CE-loss score', 'explained variance', 'L0', 'KL score', 'dead', 'detection'])}
${row(['---', ...rows[0]!.slice(1).map(() => '---:')])}
${rows.map(row).join('\n')}

The best explained feature of each:

${examples.join('\n')}
`,
)
await engine.dispose()
