/**
 * Paper 1 where attention decides: do gradient steps on the sparse code of attention queries choose the safe or the short way
 * through a grid with lava, in a model that is trained for it?
 *
 * The grid world is the one in which the authors look at the mechanism in their later paper (Bhattacharyya and Rooshenas
 * 2026, https://arxiv.org/abs/2605.23040), as a model of half a million parameters can learn it.
 */
import { random } from '../../array/index.ts'
import { complete } from '../../decode/index.ts'
import { type Edits, Model } from '../../model/index.ts'
import { meanCode } from '../../steer/codes.ts'
import { prototypesOf, sparseQueryEdits } from '../../steer/pullFeatures.ts'
import { alongDirection } from '../../steer/steer.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import {
  drawGrid,
  type Grid,
  gridBatches,
  gridPrompt,
  gridRow,
  gridVocabulary,
  longestWay,
  type Way,
  wayOf,
  ways,
} from '../gridworld.ts'
import { lossOf, mean, signed } from '../probe.ts'
import { once, smallConfig, trainSmall } from '../small.ts'
import { type Contrast, contrastAt, trainSae } from '../smallSae.ts'

const model = { layers: 4, width: 96, steps: 2000, batch: 64 }
const training = { expansion: 4, steps: 500, batch: 512, rate: 1e-3 }
const pullSteps = 10
const rowsEach = 500
const grids = 256
/** Strengths that are tried: doublings of an arm's first one. */
const doublings = 12

const drawn = (count: number, seed: number): Grid[] =>
  Array.from({ length: count }, (_, i) => drawGrid(random.fold(seed, i)))

interface Opened {
  readonly model: Model
  /** Rows whose mode names their way, to learn steering from. */
  readonly learned: Readonly<Record<Way, readonly number[][]>>
  /** Grids to choose the strength and the layer on, and grids to measure on. */
  readonly tuning: readonly Grid[]
  readonly tried: readonly Grid[]
  /** Rows without a mode, as gridBatches draws them. */
  readonly plain: Readonly<Record<Way, readonly number[][]>>
}

async function open(context: ExperimentContext, seed: number): Promise<Opened> {
  context.note(`a model of the grid world, seed ${seed} ...`)
  const { layers, width, steps, batch } = model
  const batches = gridBatches(batch, random.fold(seed, 0x67726964))
  const config = smallConfig(gridVocabulary, {
    ...{ num_hidden_layers: layers, hidden_size: width, intermediate_size: 3 * width },
  })
  const some = Int32Array.from(drawn(64, seed).flatMap((grid) => gridRow(grid, 'any', 'safe')))
  const { spec, params } = await trainSmall(context, {
    ...{ corpus: { learned: some, heldOut: some }, seed, steps, config, batches },
  })
  const rows = (count: number, key: number, mode: (way: Way) => Way | 'any') => {
    const own = drawn(count, random.fold(seed, key))
    return Object.fromEntries(
      ways.map((way) => [way, own.map((grid) => gridRow(grid, mode(way), way))]),
    ) as Record<Way, number[][]>
  }
  return {
    model: new Model({ engine: context.engine, spec, params }),
    learned: rows(rowsEach, 1, (way) => way),
    tuning: drawn(grids, random.fold(seed, 2)),
    tried: drawn(grids, random.fold(seed, 3)),
    plain: rows(64, 4, () => 'any'),
  }
}

/** Shares of whole ways of each kind, of continuations at temperature 1. */
async function shares(
  { model }: Opened,
  own: readonly Grid[],
  mode: Way | 'any',
  edit: Edits,
  seed: number,
): Promise<Record<Way | 'broken', number>> {
  const found = await complete(
    model,
    own.map((grid) => gridPrompt(grid, mode)),
    { maxTokens: longestWay, temperature: 1, stopTokens: [], seed: random.fold(seed, 0x7761) },
    { edit },
  )
  const kinds = found.map(({ tokens }, i) => wayOf(own[i]!, tokens))
  const share = (kind: Way | 'broken'): number => mean(kinds.map((other) => Number(other === kind)))
  return { safe: share('safe'), short: share('short'), broken: share('broken') }
}

type Steering = (way: Way, strength: number) => Edits

/** The strength with the highest rate on the grids to tune on; 0 where none is better than no steering. */
async function chosen(opened: Opened, way: Way, seed: number, edits: Steering, start: number) {
  let best = { strength: 0, rate: (await shares(opened, opened.tuning, 'any', {}, seed))[way] }
  for (let i = 0; i < doublings; i++) {
    const strength = start * 2 ** i
    const rate = (await shares(opened, opened.tuning, 'any', edits(way, strength), seed))[way]
    if (rate > best.rate) best = { strength, rate }
  }
  return best
}

async function measured(
  context: ExperimentContext,
  opened: Opened,
  seed: number,
  edits: Steering,
  start: number,
): Promise<Metrics> {
  const found: Record<string, number> = {}
  for (const way of ways) {
    context.signal?.throwIfAborted()
    const { strength } = await chosen(opened, way, seed, edits, start)
    const edit = strength === 0 ? {} : edits(way, strength)
    const own = await shares(opened, opened.tried, 'any', edit, seed)
    const rows = opened.plain[way]
    found[`${way} rate`] = own[way]
    found[`broken when ${way}`] = own.broken
    found[`cost of ${way}`] = (await lossOf(opened.model, rows, edit)) - (await lossOf(opened.model, rows))
    found[`strength of ${way}`] = strength
  }
  const cost = mean(ways.map((way) => found[`cost of ${way}`]!))
  return { ...averages(found), 'loss increase': cost, ...found }
}

const averages = (found: Readonly<Record<string, number>>): Metrics => {
  const both = (name: (way: Way) => string): number => mean(ways.map((way) => found[name(way)]!))
  return {
    'target rate': both((way) => `${way} rate`),
    broken: both((way) => `broken when ${way}`),
  }
}

const contrastOf = ({ model, learned }: Opened, site: string): Promise<Contrast> =>
  contrastAt(model, site, learned.safe, learned.short)

const alongDifference =
  ({ site, difference }: Contrast): Steering =>
  (way, strength) => ({ [site]: alongDirection(difference, way === 'safe' ? strength : -strength) })

/** The layer at whose queries the difference of the means moves most, on the grids to tune on. */
async function layerOf(context: ExperimentContext, opened: Opened, seed: number) {
  const found: { layer: number; rate: number; queries: Contrast }[] = []
  for (let layer = 0; layer < opened.model.spec.layers; layer++) {
    context.signal?.throwIfAborted()
    const queries = await contrastOf(opened, `blocks.${layer}.attn.hook_q`)
    const rates: number[] = []
    for (const way of ways)
      rates.push((await chosen(opened, way, seed, alongDifference(queries), firstVector)).rate)
    found.push({ layer, rate: mean(rates), queries })
  }
  return found.reduce((best, other) => (other.rate > best.rate ? other : best))
}

const firstVector = 0.25
const firstPull = 0.01

export default experiment({
  id: 'steered-paths',
  paper: 1,
  title: 'Gradient steps on sparse query features in a grid world',
  claim:
    'Where behaviour hangs on what attention looks at, moving the sparse code of the queries of one layer towards the prototype of a behaviour brings it about: safe or short ways through a grid.',
  setting: `Grids of 5 by 5 cells with a start, a goal and four cells of lava, at least one of them on the shortest way; a row names the grid, and is filled up by the short way or by the shortest safe one, sideways first where there is a choice. Six rows of eight begin with the word for their way, two with 'any'. A model of ${model.layers} layers of width ${model.width} learns ${model.steps} steps of ${model.batch} such rows, anew for each seed. Steering is learned from ${2 * rowsEach} rows that name their way: TopK SAE (k 16, ${training.expansion} times the width, ${training.steps} steps of ${training.batch} rows) on attn.hook_q, heads side by side, prototypes are mean codes; ${pullSteps} steps for each token, by the class likelihood and by the distance; the SAE's error is kept. Beside them the difference of the means of the same rows, added to the queries or to the residual stream behind the same layer. The layer is the one at whose queries that difference moves most, and each arm has the strength (of ${doublings}, each twice the one before) with the highest rate, both on ${grids} other grids. 'target rate' is the share of ${grids} ways, drawn at temperature 1 behind 'any', that are whole and of the kind that is wanted, mean of both kinds; 'broken' are ways that jump or do not end at the goal; 'loss increase' is on rows of the kind that is wanted. 'told' has the word for the way in place of steering. All arms together take about 12 minutes on one core.`,
  model: `Llama, ${model.layers} layers of width ${model.width}, 0.5M parameters`,
  data: 'Grids drawn by the seed',
  baseline: 'unsteered',
  metrics: {
    'target rate': { better: 'higher' },
    broken: { better: 'lower' },
    'loss increase': { better: 'lower', unit: 'nats a token' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    for (const seed of context.seeds) {
      const opened = once(() => open(context, seed))
      const layer = once(async () => layerOf(context, await opened(), seed))
      const trained = once(async () => {
        const { queries } = await layer()
        const { model, learned } = await opened()
        const { site, width, rows } = queries
        const architecture = { kind: 'topk', k: 16 }
        const { sae, explained } = await trainSae(context, {
          site,
          width,
          rows,
          architecture,
          seed,
          ...training,
        })
        const codes = await Promise.all(ways.map((way) => meanCode(model, sae, learned[way])))
        return { sae, explained, prototypes: prototypesOf({ safe: codes[0]!, short: codes[1]! }) }
      })
      for (const [name, mode] of [
        ['unsteered', (): 'any' => 'any'],
        ['told', (way: Way): Way => way],
      ] as const)
        await context.arm(name, seed, async () => {
          const found: Record<string, number> = {}
          for (const way of ways) {
            const own = await shares(await opened(), (await opened()).tried, mode(way), {}, seed)
            found[`${way} rate`] = own[way]
            found[`broken when ${way}`] = own.broken
          }
          return { ...averages(found), ...found }
        })
      for (const [name, pull] of [
        ['gradient on sparse queries', 'likelihood'],
        ['gradient of the distance', 'distance'],
      ] as const)
        await context.arm(name, seed, async () => {
          const { sae, explained, prototypes } = await trained()
          const edits: Steering = (target, strength) =>
            sparseQueryEdits(sae, prototypes, { target, strength, steps: pullSteps, pull })
          const found = await measured(context, await opened(), seed, edits, firstPull)
          return { ...found, 'explained variance': explained, layer: (await layer()).layer }
        })
      await context.arm('mean difference of queries', seed, async () =>
        measured(context, await opened(), seed, alongDifference((await layer()).queries), firstVector),
      )
      await context.arm('mean difference of the stream', seed, async () => {
        const site = `blocks.${(await layer()).layer}.hook_resid_post`
        return measured(
          context,
          await opened(),
          seed,
          alongDifference(await contrastOf(await opened(), site)),
          firstVector,
        )
      })
    }
  },
  judge(rows) {
    const [ours, vector] = ['gradient on sparse queries', 'mean difference of queries']
    const gain = rows.difference(ours, 'unsteered', 'target rate')
    const ahead = rows.difference(ours, vector, 'target rate')
    const broken = rows.difference(ours, 'unsteered', 'broken')
    const rises = gain.mean > 0.05 && gain.mean > gain.half && broken.mean <= 0.05
    const behind = ahead.mean < -0.02 && -ahead.mean > ahead.half
    const percent = (name: string): string => `${(100 * rows.mean(name, 'target rate')).toFixed(1)} %`
    return {
      verdict: rises ? (behind ? 'partly' : 'reproduced') : 'not at this scale',
      reason: `Target rate ${percent('unsteered')} unsteered, ${percent(ours)} with gradient steps on sparse queries, ${percent(vector)} with the mean difference of queries, ${percent('mean difference of the stream')} with that of the residual stream, ${percent('told')} where the prompt says it: ${signed(gain, 3)} over unsteered, ${signed(ahead, 3)} against the vector at the same place, broken ways ${signed(broken, 3)} (95 % intervals of ${rows.at(ours, 'target rate').n} seeds). Asked for: more than 0.05 over unsteered, beyond the interval, with at most 0.05 more broken ways; 'partly' where the vector at the same place is better by more than 0.02 and the interval.`,
    }
  },
})
