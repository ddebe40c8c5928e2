/** From a recipe to trained SAEs: everything that `glossa sae train` does but for what it shows. */
import { join, resolve } from 'node:path'
import { Model } from '../../model/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { makeOptimizer } from '../../train/index.ts'
import { type Corpus, openCorpus } from '../../train/run/corpus.ts'
import { type RunOptions, type RunResult, run } from '../../train/run/run.ts'
import { makeSchedule } from '../../train/schedules.ts'
import {
  ActivationSource,
  ActivationStream,
  normScale,
  sampleOf,
  specialTokens,
} from '../activations/index.ts'
import { makeArchitecture } from './architectures/index.ts'
import { type Evaluation, evaluateSae } from './evaluate.ts'
import { type SaeLensOptions, writeSaeLens, writeSparsify } from './files/index.ts'
import { type NamedSae, SaeGroup, type SaeMember } from './group.ts'
import type { SaeRecipe, SaeSpec } from './recipe.ts'

export interface TrainSaesOptions extends Pick<RunOptions, 'folder' | 'resume' | 'signal' | 'onStep'> {
  readonly engine: Engine
  readonly recipe: SaeRecipe
  /** Of the recipe's file: its paths are relative to this folder. */
  readonly base: string
  /** What is being done, for people. */
  readonly onNote?: (text: string) => void
}

export interface TrainedSae extends NamedSae, Evaluation {
  readonly folder: string
}

export interface TrainedSaes extends RunResult {
  /** Evaluated on held-out text; none where the run was interrupted. */
  readonly saes: readonly TrainedSae[]
  readonly tokensPerSecond: number
}

/** Activations to look at before the first step: for scales, and where biases begin. */
const sampleRows = 16384

/** Steps of a recipe. */
export const stepsOf = ({ tokens, batch }: Pick<SaeRecipe, 'tokens' | 'batch'>): number =>
  Math.max(1, Math.floor(tokens / batch))

/** Trains by a recipe. Throws for anything in it that is not there, or does not fit. */
export async function trainSaes(options: TrainSaesOptions): Promise<TrainedSaes> {
  const { engine, recipe, base, onNote = () => undefined } = options
  const at = (path: string): string => resolve(base, path)
  const model = Model.open(at(recipe.model), engine)
  const text = await openSaeText(model, recipe, at, onNote)
  const steps = stepsOf(recipe)
  const sites = [...new Set(recipe.saes.flatMap(sitesOf))]
  const { length, windows, batch, buffer } = recipe
  const source = new ActivationSource({
    ...{ model, tokens: text.learned, sites, length, windows },
    ...{ begin: text.begin, exclude: text.exclude, seed: recipe.data.seed },
  })
  onNote(`activations at ${sites.join(', ')} ...`)
  const sample = await sampleOf(source, sampleRows)
  const scale = Object.fromEntries(
    sites.map((site) => [site, recipe.normalize ? normScale(sample.rows[site]!, sample.count) : 1]),
  )
  const stream = new ActivationStream({ source, batch, buffer, seed: recipe.data.seed, scale })
  const members = membersOf(recipe, steps, (site) => sample.rows[site]!.length / sample.count)
  using group = new SaeGroup({ engine, members, batches: stream, sample, scale, steps })
  onNote(`${members.length === 1 ? 'one SAE' : `${members.length} SAEs`}, ${steps} steps of ${batch} tokens`)

  const about = { model_name: recipe.model, context_size: length, prepend_bos: text.begin !== undefined }
  const named = (): NamedSae[] =>
    group.saes().map(({ name, sae }) => ({
      name,
      sae: { ...sae, config: { ...sae.config, metadata: about } },
    }))
  const last = join(options.folder, 'last')
  const result = await run(group, {
    ...options,
    name: recipe.name,
    unit: 'loss',
    steps,
    recipe: JSON.stringify(recipe),
    saveEvery: recipe.saveEvery,
    write: (folder) => {
      for (const { name, sae } of named()) writeSae(join(folder, name), sae, { dtype: recipe.dtype })
    },
  })
  const { seen, seconds } = result.progress
  const done = { ...result, tokensPerSecond: seen / Math.max(seconds, 1e-9) }
  if (result.end === 'interrupted') return { ...done, saes: [] }
  const saes: TrainedSae[] = []
  for (const { name, sae } of named()) {
    onNote(`evaluating ${name} ...`)
    const { heldOut: tokens, begin, exclude } = text
    const found = await evaluateSae({ model, sae, tokens, length, begin, exclude, most: recipe.evaluate })
    const folder = join(last, name)
    writeSae(folder, sae, { dtype: recipe.dtype, density: found.feature_density })
    saes.push({ name, sae, folder, ...found })
  }
  return { ...done, saes }
}

/** SAELens' layout but for what it has not. */
function writeSae(folder: string, sae: NamedSae['sae'], options: SaeLensOptions): void {
  if (sae.config.transcoder && sae.config.architecture === 'topk') writeSparsify(folder, sae)
  else writeSaeLens(folder, sae, options)
}

export interface SaeText extends Pick<Corpus, 'learned' | 'heldOut'> {
  readonly begin: number | undefined
  readonly exclude: readonly number[]
}

/** The text of a recipe under the model's tokenizer. */
export async function openSaeText(
  model: Model,
  { data, begin, exclude }: Pick<SaeRecipe, 'data' | 'begin' | 'exclude'>,
  at: (path: string) => string,
  note: (text: string) => void,
): Promise<SaeText> {
  const { tokenizer } = model
  if (!tokenizer) throw new Error(`${model.path} has no tokenizer, which texts need`)
  const { learned, heldOut } = await openCorpus(
    { files: data.files, heldOut: data.heldOut, name: 'text' },
    tokenizer,
    at,
    note,
  )
  return {
    learned,
    heldOut,
    begin: begin ? tokenizer.bos : undefined,
    exclude: exclude === 'special' ? specialTokens(tokenizer) : [],
  }
}

const sitesOf = ({ site, siteOut }: SaeSpec): string[] => [
  ...(Array.isArray(site) ? site : [site]),
  ...(siteOut === undefined ? [] : [siteOut]),
]

const mostTokensDead = 10_000_000

function membersOf(recipe: SaeRecipe, steps: number, widthOf: (site: string) => number): SaeMember[] {
  const { tokens, clip, warmup, decay } = recipe
  const [grows, falls] = [Math.round(warmup * steps), Math.round(decay * steps)]
  const factor = makeSchedule({
    kind: 'wsd',
    warmup: Math.min(grows, steps - 1),
    decay: Math.max(1, Math.min(falls, steps - grows)),
    shape: 'linear',
    steps,
  })
  const members = recipe.saes.map((spec): SaeMember => {
    const sites = Array.isArray(spec.site) ? spec.site : [spec.site]
    const { optimizer, rate } = makeOptimizer(spec.optimizer ?? recipe.optimizer)
    return {
      name: spec.name ?? nameOf(spec),
      chosen: makeArchitecture(spec.architecture),
      sites,
      siteOut: spec.siteOut,
      dSae: spec.features ?? spec.expansion * widthOf(sites[0]!),
      seed: spec.seed,
      optimizer,
      rate: (step) => rate * factor(step),
      clip,
      deadAfter: spec.deadAfter ?? Math.min(mostTokensDead, Math.ceil(tokens / 10)),
    }
  })
  const seen = new Map<string, number>()
  return members.map((member, i) => {
    if (recipe.saes[i]!.name !== undefined) return member
    const count = (seen.get(member.name) ?? 0) + 1
    seen.set(member.name, count)
    return count === 1 ? member : { ...member, name: `${member.name}-${count}` }
  })
}

const nameOf = ({ architecture, site, siteOut }: SaeSpec): string =>
  [architecture.kind, ...(Array.isArray(site) ? site : [site]), ...(siteOut ? [siteOut] : [])]
    .join('-')
    .replace(/blocks\.|hook_/g, '')
    .replace(/[^\w-]/g, '_')
