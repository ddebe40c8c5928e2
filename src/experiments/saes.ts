/**
 * What experiments with SAEs share: activations of one model over stories, computed once and cached in runs/activations;
 * SAEs that learn from them by one recipe; metrics on stories held out from the model and from them.
 */
import { basename, join } from 'node:path'
import { random, type Tensor, tensor } from '../array/index.ts'
import { type ActivationCache, cacheActivations } from '../interp/activations/cache.ts'
import {
  type ActivationBatch,
  ActivationSource,
  type Chunk,
  normScale,
  specialTokens,
} from '../interp/activations/index.ts'
import {
  evaluateSae,
  foldScale,
  makeArchitecture,
  type Sae,
  SaeGroup,
  type SaeMember,
  type SaeMetrics,
} from '../interp/sae/index.ts'
import { load, Model } from '../model/index.ts'
import { orderOf } from '../train/data/order.ts'
import { adamw } from '../train/index.ts'
import { makeSchedule } from '../train/schedules.ts'
import type { ExperimentContext, Metrics } from './experiment.ts'
import { weightsOf } from './result.ts'
import { defaultModel, stories, storyFiles } from './small.ts'

/** Tokens of a window, with the one that begins it. */
export const windowLength = 128
export const batch = 1024
/** Of each file: more than enough tokens for all experiments. */
const documents = 3000
/** Of AdamW, at a batch of 1024: the same for all SAEs. */
export const rate = 1e-3

export interface Studied {
  readonly model: Model
  readonly learned: Int32Array | Uint16Array
  readonly heldOut: Int32Array | Uint16Array
  readonly begin: number | undefined
  readonly exclude: readonly number[]
}

/** The model that experiments look into, and its stories. */
export async function openStudied(context: ExperimentContext): Promise<Studied> {
  const model = new Model({ engine: context.engine, ...load(defaultModel()) })
  const tokenizer = model.tokenizer!
  const { learned, heldOut } = await stories(context, tokenizer, storyFiles, documents)
  return { model, learned, heldOut, begin: tokenizer.bos, exclude: specialTokens(tokenizer) }
}

/** The block in the middle. */
export const middle = ({ model }: Pick<Studied, 'model'>): number => Math.floor(model.spec.layers / 2)

/** Activations at sites over the first tokens of a text. The folder's name tells what is in it. */
export async function cached(
  context: ExperimentContext,
  { model, begin, exclude }: Studied,
  text: Int32Array | Uint16Array,
  what: string,
  sites: readonly string[],
  most: number,
): Promise<ActivationCache> {
  const taken = begin === undefined ? windowLength : windowLength - 1
  const tokens = text.subarray(0, Math.floor(Math.min(most, text.length) / taken) * taken)
  const source = new ActivationSource({ model, tokens, sites, length: windowLength, begin, exclude })
  const folder = join(
    'runs',
    'activations',
    `${basename(model.path)}-${weightsOf(model.path)}-${what}-${tokens.length}`,
  )
  context.note(`activations of ${tokens.length} tokens at ${sites.join(', ')} ...`)
  const cache = await cacheActivations({ folder, source, dtype: 'f16', signal: context.signal })
  if (!cache) throw context.signal?.reason ?? new Error('interrupted')
  return cache
}

/** One SAE of a run. */
export interface Plan {
  readonly name: string
  readonly architecture: object
  readonly sites: readonly string[]
  readonly features: number
  readonly seed: number
}

export interface Learned {
  readonly name: string
  /** For activations as the model has them; one for each site. */
  readonly saes: readonly Sae[]
  /** Share of the features that were not active on the last tenth of the tokens. */
  readonly dead: number
  /** Of the steps of all SAEs of its run, without reading rows. */
  readonly seconds: number
}

/**
 * SAEs that learn from one order of rows, side by side, `tokens` each: AdamW, the rate warming up over a twentieth of the
 * steps and falling over the last third. `order` is the seed of the order.
 */
export async function learnSaes(
  context: ExperimentContext,
  cache: ActivationCache,
  plans: readonly Plan[],
  { tokens, order }: { readonly tokens: number; readonly order: number },
): Promise<Learned[]> {
  const steps = Math.floor(tokens / batch)
  const sites = [...new Set(plans.flatMap((plan) => plan.sites))]
  const sample = sampleOfCache(cache, sites)
  const scale = Object.fromEntries(sites.map((site) => [site, normScale(sample.rows[site]!, sample.count)]))
  const warmup = Math.ceil(steps / 20)
  const factor = makeSchedule({ kind: 'wsd', warmup, decay: Math.ceil(steps / 3), steps, shape: 'linear' })
  const members = plans.map(
    ({ name, architecture, sites, features, seed }): SaeMember => ({
      name,
      chosen: makeArchitecture(architecture),
      sites,
      dSae: features,
      seed,
      optimizer: adamw({ weightDecay: 0 }),
      rate: (step) => rate * factor(step),
      deadAfter: Math.ceil(tokens / 10),
    }),
  )
  let reading = 0
  const rows = orderOf(cache.rows, { batch, seed: order, dropLast: true })
  const batches = {
    at: (step: number): ActivationBatch => {
      const began = performance.now()
      const read = Object.fromEntries(
        sites.map((site) => [site, rowsAt(cache, site, rows.rowsAt(step), scale[site]!)]),
      )
      reading += performance.now() - began
      return read
    },
  }
  using group = new SaeGroup({ engine: context.engine, members, batches, sample, scale, steps })
  let report = await group.next()
  // The first step compiles.
  const [began, readBefore] = [performance.now(), reading]
  while (group.step < steps) {
    context.signal?.throwIfAborted()
    report = await group.next()
  }
  const seconds = (performance.now() - began - (reading - readBefore)) / 1000
  const found = group.saes()
  return plans.map(({ name, sites: own }) => ({
    name,
    seconds,
    saes: found
      .filter((one) => one.name === name || one.name.startsWith(`${name}/`))
      .map(({ sae }) => sae)
      .toSorted((a, b) => own.indexOf(a.config.site!) - own.indexOf(b.config.site!)),
    dead: report.metrics[plans.length === 1 ? 'dead' : `${name}/dead`]!,
  }))
}

/** An SAE as its training would begin: random directions, the bias in the middle of the data. */
export function untrainedSae(cache: ActivationCache, { architecture, sites, features, seed }: Plan): Sae {
  const site = sites[0]!
  const width = cache.widthOf(site)
  const chosen = makeArchitecture(architecture)
  const sample = sampleOfCache(cache, [site])
  const scale = normScale(sample.rows[site]!, sample.count)
  const sizes = { dIn: width, dOut: width, dSae: features, transcoder: false }
  const y = sample.rows[site]!.map((value) => value * scale)
  const params = chosen.architecture.init(sizes, chosen.options, { count: sample.count, y }, seed)
  const sae = foldScale(chosen.architecture.finish(params, {}, sizes, chosen.options), scale)
  return { ...sae, config: { ...sae.config, site } }
}

function rowsAt(cache: ActivationCache, site: string, rows: ArrayLike<number>, factor: number): Tensor {
  const data = cache.read(site, rows)
  for (let i = 0; i < data.length; i++) data[i]! *= factor
  return tensor(data, [rows.length, cache.widthOf(site)])
}

/** Rows spread over a cache, to begin from. */
function sampleOfCache(cache: ActivationCache, sites: readonly string[], most = 8192): Chunk {
  const count = Math.min(most, cache.rows)
  const picked = Array.from({ length: count }, (_, i) => Math.floor((i * cache.rows) / count))
  return { count, rows: Object.fromEntries(sites.map((site) => [site, cache.read(site, picked)])) }
}

/** What an SAE costs the model on held-out stories. */
export async function measured(
  { model, heldOut, begin, exclude }: Studied,
  sae: Sae,
  most = 16_384,
): Promise<SaeMetrics> {
  const found = await evaluateSae({ model, sae, tokens: heldOut, length: windowLength, begin, exclude, most })
  return found.metrics
}

/** Those of an SAE's metrics that experiments report. */
export const reported = ({ explained_variance, ce_loss_score, l0 }: SaeMetrics): Metrics => ({
  'normalised MSE': 1 - explained_variance,
  'CE-loss score': ce_loss_score,
  L0: l0,
})

/** A curve of points, x ascending, read at x: straight between logarithms of x, and on beyond the ends. */
export function readAt(points: readonly (readonly [x: number, y: number])[], x: number): number {
  const sorted = points.toSorted((a, b) => a[0] - b[0])
  if (sorted.length < 2) throw new Error('readAt: two points make a line')
  let right = sorted.findIndex(([at]) => at >= x)
  if (right < 1) right = right === 0 ? 1 : sorted.length - 1
  const [[x0, y0], [x1, y1]] = [sorted[right - 1]!, sorted[right]!]
  if (x1 === x0) return (y0 + y1) / 2
  return y0 + ((y1 - y0) * (Math.log(x) - Math.log(x0))) / (Math.log(x1) - Math.log(x0))
}

/** The seed of the runs that only look for penalties. */
const lookingSeed = 1000

/**
 * Penalties at which SAEs of a kind come out at wanted numbers of active features, from runs of the full length with
 * another seed. They are reported as arms of their own.
 */
export async function penalties(
  context: ExperimentContext,
  open: () => Promise<{ readonly studied: Studied; readonly cache: ActivationCache }>,
  options: {
    readonly label: string
    readonly architecture: (penalty: number) => object
    readonly tried: readonly number[]
    readonly wanted: readonly number[]
    readonly site: (studied: Studied) => string
    readonly expansion: number
    readonly tokens: number
  },
): Promise<number[]> {
  const points: [l0: number, penalty: number][] = []
  for (const penalty of options.tried) {
    const { L0 } = await context.arm(`looking: ${options.label}, λ ${penalty}`, lookingSeed, async () => {
      const { studied, cache } = await open()
      const site = options.site(studied)
      const [found] = await learnSaes(
        context,
        cache,
        [
          {
            name: 'sae',
            architecture: options.architecture(penalty),
            sites: [site],
            features: options.expansion * cache.widthOf(site),
            seed: random.fold(lookingSeed, 1),
          },
        ],
        { tokens: options.tokens, order: lookingSeed },
      )
      return { L0: (await measured(studied, found!.saes[0]!, 4096)).l0 }
    })
    points.push([Math.max(L0!, 1e-3), Math.log(penalty)])
  }
  const [lowest, highest] = [Math.min(...options.tried) / 4, Math.max(...options.tried) * 4]
  return options.wanted.map((l0) => {
    const penalty = Math.exp(readAt(points, l0))
    if (penalty >= lowest && penalty <= highest) return penalty
    throw new Error(
      `${options.label}: no penalty near ${options.tried.join(', ')} leaves ${l0} features active; they leave ${points.map(([found]) => found.toFixed(1)).join(', ')}`,
    )
  })
}
