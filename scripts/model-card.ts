/**
 * Puts a trained model into its folder in models/, with a card in which every figure is measured here. Needs the run's
 * folder and the data that its recipe names.
 *
 *   npx tsx scripts/model-card.ts models/default --recipe recipes/wide.json --recipe recipes/default.json
 *
 * The recipes are the stages of the training, in order; each one's run lies in ../runs under its name.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { leaves } from '../src/array/index.ts'
import { complete, scoreDocuments } from '../src/decode/index.ts'
import { Model } from '../src/model/index.ts'
import { documentsOf, heldOut as heldOutNgram, trainKneserNey } from '../src/ngram/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'
import { lines } from '../src/plot/index.ts'
import { loadTokenizer } from '../src/text/index.ts'
import { openText, tokenizeCorpus } from '../src/train/data/index.ts'
import { readMetrics } from '../src/train/run/metricsLog.ts'
import { parseRecipe, type Recipe } from '../src/train/run/recipe.ts'
import { type Card, modelCard, type Score } from './modelCard/card.ts'
import { cutFiles, strangers } from './modelCard/data.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    recipe: { type: 'string', multiple: true, default: [] },
    runs: { type: 'string', default: join(root, '../runs') },
    assets: { type: 'string', default: join(root, '../shared/assets') },
    weights: { type: 'string', default: 'last' },
    note: { type: 'string', multiple: true, default: [] },
    /** `path=what it is`: a model that is scored beside it. */
    peer: { type: 'string', multiple: true, default: [] },
  },
})
const target = resolve(positionals[0]!)
const name = basename(target)
const assets = resolve(values.assets)
const stages = values.recipe.map((file) => {
  const recipe = parseRecipe(JSON.parse(readFileSync(file, 'utf8')), file)
  const run = join(values.runs, recipe.name)
  return { file: relative(root, resolve(file)), recipe, run, metrics: readMetrics(run) }
})
const { recipe, run } = stages.at(-1)!

mkdirSync(target, { recursive: true })
for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
  copyFileSync(join(run, values.weights, file), join(target, file))

const engine = new Engine(nodeRuntime({ threads: 1 }))
const model = Model.open(target, engine)
const parameters = leaves(model.params).reduce(
  (sum, [, leaf]) => sum + leaf.sizes.reduce((a, b) => a * b, 1),
  0,
)

/** The documents that a source holds out, or that it learns. */
async function textsOf(source: Recipe['data']['sources'][number], learned: boolean): Promise<string[]> {
  const texts: string[] = []
  for (const { file } of source.files) {
    const rows = await openText(resolve(root, 'recipes', file))
    const border = rows.length - Math.ceil(rows.length * source.heldOut)
    const [from, to] = learned ? [0, border] : [border, rows.length]
    for (let i = from; i < to; i++) texts.push(((await rows.at(i)) as { text: string }).text)
  }
  return texts
}

interface Unseen {
  readonly name: string
  readonly texts: readonly string[]
  /** The source of the same kind, which an n-gram model learns. */
  readonly like: Recipe['data']['sources'][number]
}
const unseen: Unseen[] = []
for (const source of recipe.data.sources) {
  if (source.heldOut === 0) continue
  unseen.push({ name: source.name, texts: await textsOf(source, false), like: source })
}
const rows = await openText(join(assets, strangers.file))
const books = await Promise.all(Array.from({ length: rows.length }, (_, i) => rows.at(i)))
unseen.push({
  name: 'another collection',
  texts: books.map((row) => (row as { text: string }).text),
  like: recipe.data.sources.find((source) => source.name === 'literature')!,
})

const note = (text: string): void => console.error(text)
const scoresOf = async (scored: Model): Promise<Score[]> => {
  const scores: Score[] = []
  for (const { name: corpus, texts } of unseen) {
    const { bitsPerByte, standardError } = await scoreDocuments(scored, texts)
    note(`${scored.path} on ${corpus}: ${bitsPerByte.toFixed(4)} bits per byte`)
    scores.push({ corpus, documents: texts.length, bitsPerByte, standardError })
  }
  return scores
}

/** The same of an n-gram model that has learned the documents of the same kind; the same for all models. */
async function ngramScores(): Promise<Score[]> {
  const kept = join(values.runs, 'ngram-scores.json')
  if (existsSync(kept)) return JSON.parse(readFileSync(kept, 'utf8')) as Score[]
  const tokenizer = loadTokenizer(join(root, 'models/tokenizer'))
  const encode = async (texts: readonly string[]) =>
    documentsOf(
      await tokenizeCorpus({ length: texts.length, at: (i) => texts[i] }, tokenizer, { endOfText: null }),
    )
  const scores: Score[] = []
  let last: { readonly like: unknown; readonly trained: ReturnType<typeof trainKneserNey> } | undefined
  for (const { name: corpus, texts, like } of unseen) {
    if (last?.like !== like) {
      const rows = await encode(await textsOf(like, true))
      last = { like, trained: trainKneserNey(rows, { vocabulary: tokenizer.vocabSize, order: 5 }) }
    }
    const { trained } = last
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
    const { bitsPerByte } = heldOutNgram(trained, await encode(texts), bytes)
    note(`5-gram on ${corpus}: ${bitsPerByte.toFixed(4)} bits per byte`)
    scores.push({ corpus, documents: texts.length, bitsPerByte, standardError: null })
  }
  mkdirSync(dirname(kept), { recursive: true })
  writeFileSync(kept, JSON.stringify(scores))
  return scores
}

const own = await scoresOf(model)
const samples: string[] = []
for (const seed of [1, 2, 3, 4, 5]) {
  const prompt = 'Once upon a time'
  const [story] = await complete(model, [prompt], { temperature: 0.8, seed, maxTokens: 300 })
  samples.push(`${prompt}${story!.text}`)
}
const stories260k = join(assets, 'models/stories260K/stories260Ktok512.gguf')
const others: { name: string; scores: Score[] }[] = []
for (const peer of [`${stories260k}=stories260K (Karpathy), 0.26M parameters`, ...values.peer]) {
  const [path, title] = peer.split('=') as [string, string]
  others.push({ name: title, scores: await scoresOf(Model.open(path, engine)) })
}
others.push({ name: '5-gram, modified Kneser-Ney, on the same documents', scores: await ngramScores() })

// Tokens of earlier stages lie before those of later ones.
let before = 0
const training: { x: number; y: number }[] = []
const measured: { x: number; y: number; bits: number }[] = []
for (const { metrics } of stages) {
  const perStep = metrics.find(({ step, seen }) => step > 0 && typeof seen === 'number')
  const each = perStep ? (perStep.seen as number) / perStep.step : 0
  const every = Math.max(1, Math.floor(metrics.length / 200))
  let losses: number[] = []
  for (const row of metrics) {
    if (typeof row.loss === 'number') losses.push(row.loss)
    const tokens = (before + row.step * each) / 1e6
    if (losses.length === every) {
      training.push({ x: tokens, y: losses.reduce((a, b) => a + b, 0) / every })
      losses = []
    }
    const [y, bits] = [row['validation/stories/loss'], row['validation/stories/bitsPerByte']]
    if (typeof y === 'number' && typeof bits === 'number' && row.step > 0)
      measured.push({ x: tokens, y, bits })
  }
  before += Math.max(...metrics.map(({ seen }) => (typeof seen === 'number' ? seen : 0)))
}
writeFileSync(
  join(target, 'loss.svg'),
  lines(
    [
      { name: 'training, all sources', points: training },
      { name: 'held-out stories', points: measured },
    ],
    { title: `${name}: loss`, x: 'million tokens seen', y: 'nats a token' },
  ),
)

const card: Card = {
  name,
  parameters,
  spec: model.spec,
  stages: stages.map(
    ({ file, metrics, recipe: { batch, accumulate, length, optimizer, schedule, description } }) => {
      // What was run, which can be less than the recipe's steps.
      const steps = Math.max(...metrics.map(({ step }) => step))
      return {
        file,
        description: description ?? '',
        tokens: steps * batch * accumulate * length,
        text: `${steps} steps of ${batch * accumulate} x ${length} tokens, ${optimizer.kind} at ${optimizer.rate}, ${schedule.kind}`,
      }
    },
  ),
  sources: recipe.data.sources.map((source) => ({
    name: source.name,
    weight: source.weight ?? 1,
    heldOut: source.heldOut,
    files: source.files.map(({ file }) => cutFiles(file)),
  })),
  seen: before,
  scores: [{ name: `**${name}**`, scores: own }, ...others],
  measured,
  samples,
  notes: values.note,
}
writeFileSync(join(target, 'MODEL_CARD.md'), modelCard(card))
await engine.dispose()
