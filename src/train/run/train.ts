/** From a recipe to a trained model: everything that `glossa train` does but for what it shows. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { leaves } from '../../array/index.ts'
import { parseConfig } from '../../model/bind.ts'
import type { DecoderNames } from '../../model/families/family.ts'
import { familyOf } from '../../model/families/index.ts'
import { type DecoderParams, load } from '../../model/index.ts'
import { namedTensors, saveModel, tokenizerFilesOf } from '../../model/save.ts'
import { parameterShapes } from '../../model/shapes.ts'
import type { Engine } from '../../onnx/index.ts'
import { loadTokenizer, type Tokenizer } from '../../text/index.ts'
import { coveringBatches, PackedBatches } from '../data/packed.ts'
import { initialize } from '../initialize.ts'
import type { TokenBatch } from '../objectives/index.ts'
import { stackBlocks } from '../stack.ts'
import { Trainer } from '../trainer.ts'
import { transferVocabulary } from '../transferVocabulary.ts'
import { widen } from '../widen.ts'
import { type Corpus, openCorpus } from './corpus.ts'
import { recipeObjective } from './objective.ts'
import { learning, type Recipe } from './recipe.ts'
import { type Measurement, type RunOptions, type RunResult, run } from './run.ts'

export interface TrainOptions
  extends Pick<RunOptions, 'folder' | 'resume' | 'signal' | 'onStep' | 'onMeasure'> {
  readonly engine: Engine
  readonly recipe: Recipe
  /** Of the recipe's file: its paths are relative to this folder. */
  readonly base: string
  /** What is being done before the first step, for people. */
  readonly onNote?: (text: string) => void
}

export interface Trained extends RunResult {
  readonly parameters: number
  readonly seenTokens: number
}

/** Trains by a recipe. Throws for anything in it that is not there, or does not fit. */
export async function train(options: TrainOptions): Promise<Trained> {
  const { engine, recipe, base, onNote = () => undefined } = options
  const at = (path: string): string => resolve(base, path)
  const tokenizer = tokenizerOf(recipe, at)
  const model = openTrained(recipe, tokenizer, at)
  if (tokenizer.vocabSize > model.spec.vocab)
    throw new Error(
      `the tokenizer has ${tokenizer.vocabSize} tokens, but the model's vocabulary is ${model.spec.vocab}`,
    )
  const chosen = recipeObjective(recipe.objective, { ...model, tokenizer, seed: recipe.data.seed, at })
  const corpora: Corpus[] = []
  for (const source of recipe.data.sources) corpora.push(await openCorpus(source, tokenizer, at, onNote))

  const { length, batch, steps, accumulate } = recipe
  const windows = new PackedBatches({
    sources: corpora.map(({ learned, weight }) => ({ tokens: learned, weight })),
    batch,
    length,
    seed: recipe.data.seed,
  })
  using trainer = new Trainer({
    engine,
    model: chosen.model,
    objective: chosen.objective,
    measured: chosen.measured,
    batches: chosen.batches(windows),
    ...learning(recipe),
    accumulate,
    clip: recipe.clip,
    seed: recipe.seed,
  })
  const parameters = leaves(model.params).reduce(
    (sum, [, leaf]) => sum + leaf.sizes.reduce((a, b) => a * b, 1),
    0,
  )
  onNote(`${parameters} parameters, ${steps} steps of ${accumulate * batch} x ${length} tokens`)
  const result = await run(trainer, {
    ...options,
    name: recipe.name,
    steps,
    recipe: JSON.stringify(recipe),
    saveEvery: recipe.saveEvery,
    keep: recipe.keep,
    measure: {
      every: recipe.measure.every,
      patience: recipe.measure.patience,
      run: () => measureAll(trainer, corpora, recipe),
    },
    write: (folder) =>
      saveModel(folder, {
        config: model.config,
        names: model.names,
        params: chosen.weights(trainer.parts),
        dtype: recipe.dtype,
        files: tokenizerFilesOf(tokenizerFolder(recipe, at)),
      }),
  })
  return { ...result, parameters, seenTokens: result.progress.seen }
}

/** The model of the recipe: new, or from a folder. */
function openTrained({ model, length }: Recipe, tokenizer: Tokenizer, at: (path: string) => string) {
  if ('from' in model) {
    const path = at(model.from)
    const { spec, params, names } = load(path)
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>
    return { spec, params, names, config }
  }
  const { config, seed, deviation, ...beginnings } = model
  const { stack, widen: narrow, transferVocabulary: other } = beginnings
  const { id } = parseConfig(JSON.stringify(config), 'model.config')
  const { spec, names } = familyOf('safetensors', id).describe(config, () => true)
  if (length > spec.context)
    throw new RangeError(`rows of ${length} tokens, but the model has ${spec.context} positions`)
  const chosen = Object.entries(beginnings).flatMap(([key, path]) =>
    path === undefined ? [] : [`'model.${key}'`],
  )
  if (chosen.length > 1)
    throw new Error(`${chosen.join(' and ')} exclude each other: do one after the other, in two recipes`)
  const begin = (): DecoderParams => {
    if (stack !== undefined) return stackBlocks(load(at(stack)).params, spec.layers)
    if (other !== undefined) {
      const given = load(at(other))
      if (!given.tokenizer) throw new Error(`'model.transferVocabulary': ${at(other)} has no tokenizer`)
      const old = { spec: given.spec, tokenizer: given.tokenizer }
      return transferVocabulary(given.params, old, { spec, tokenizer })
    }
    if (narrow === undefined) return initialize(spec, { seed, deviation, names })
    const given = load(at(narrow))
    return widen(given.params, given.spec, spec, { seed })
  }
  const params = begin()
  checkShapes(params, names, parameterShapes(spec, names))
  return { spec, names, config, params }
}

/** Throws where a model that was grown is not of the configuration's sizes. */
function checkShapes(
  params: DecoderParams,
  names: DecoderNames,
  shapes: ReadonlyMap<string, readonly unknown[]>,
): void {
  for (const { name, shape } of namedTensors(params, names, 'f32'))
    if (`${shape}` !== `${shapes.get(name)}`)
      throw new Error(
        `the grown model's '${name}' is [${shape}], the configuration wants [${shapes.get(name)}]`,
      )
}

const tokenizerFolder = ({ tokenizer, model }: Recipe, at: (path: string) => string): string => {
  const folder = tokenizer ?? ('from' in model ? model.from : undefined)
  if (folder === undefined)
    throw new Error("the recipe of a new model needs a 'tokenizer': the folder of one")
  return at(folder)
}

const tokenizerOf = (recipe: Recipe, at: (path: string) => string): Tokenizer =>
  loadTokenizer(tokenizerFolder(recipe, at))

/** The loss on what each source holds out; the first (or `of`) decides. */
async function measureAll(
  trainer: Pick<Trainer<unknown, unknown, unknown, TokenBatch, unknown>, 'measure'>,
  corpora: readonly Corpus[],
  { measure, length, batch }: Recipe,
): Promise<Measurement> {
  const found: Record<string, number> = {}
  let decisive: number | undefined
  for (const { name, heldOut, bytesPerToken } of corpora) {
    if (heldOut.length === 0) continue
    const covering = coveringBatches(heldOut, { batch, length })
    const count = Math.min(covering.count, Math.ceil(measure.windows / batch))
    const { loss } = await trainer.measure(covering, count)
    found[`${name}/loss`] = loss
    found[`${name}/bitsPerByte`] = loss / Math.LN2 / bytesPerToken
    if (measure.of === undefined ? decisive === undefined : measure.of === name) decisive = loss
  }
  if (decisive === undefined)
    throw new Error(
      measure.of === undefined
        ? "nothing is held out: give a source a 'heldOut' share"
        : `'measure.of': no source '${measure.of}' holds anything out`,
    )
  return { ...found, loss: decisive }
}
