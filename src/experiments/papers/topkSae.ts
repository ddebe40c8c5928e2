/** TopK SAEs (paper 174): better than ReLU with L1 at equal L0? Does AuxK keep features alive, does error follow a power law? */
import { random } from '../../array/index.ts'
import { type ExperimentContext, experiment, type Rows, summary } from '../experiment.ts'
import {
  cached,
  learnSaes,
  measured,
  middle,
  openStudied,
  penalties,
  readAt,
  reported,
  type Studied,
} from '../saes.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const k = 32
const tokens = 200_000
const expansions = [1, 2, 4, 8] as const
/** Of TopK against ReLU. */
const expansion = 4
/** ReLU's numbers of active features are on both sides of k; its metrics are read at k. */
const around = [24, 43] as const
const tried = [1, 2.5, 6] as const

const siteOf = (studied: Pick<Studied, 'model'>): string => `blocks.${middle(studied)}.hook_resid_post`
const wide = (times: number): string => `TopK, ${times}x`
const relu = (l0: number): string => `ReLU, L0 about ${l0}`
/** The widest has most features to lose. */
const widest = expansions[expansions.length - 1]!
const withoutAux = `TopK, ${widest}x, no AuxK`

async function open(context: ExperimentContext) {
  const studied = await openStudied(context)
  const cache = await cached(context, studied, studied.learned, 'middle', [siteOf(studied)], tokens)
  return { studied, cache }
}

export default experiment({
  id: 'topk-sae',
  paper: 174,
  title: 'TopK autoencoders against ReLU with L1',
  claim:
    'TopK autoencoders reconstruct better than ReLU ones at the same number of active features, AuxK prevents dead features, and error falls with width by a power law.',
  setting: `The residual stream after the middle block of ${describeModel(defaultModel())}. ${tokens} tokens of stories for each SAE, AdamW, batch 1024, rate 0.001 for all (not tuned for any). TopK has k = ${k}; ReLU has L1 weighted by decoder norms (SAELens' standard, Anthropic April 2024) at two penalties, found by runs with another seed, so that its L0 lies on both sides of ${k}; its metrics are read at L0 = ${k}, straight in log L0. Width ${expansion} times the model's for the comparison with ReLU, ${widest} times for that without AuxK. Dead: not active on the last tenth of the tokens. Metrics are on held-out stories. The paper trains on GPT-2 small and GPT-4 with up to 40 billion tokens.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, the last 2 % held out',
  baseline: relu(around[0]),
  metrics: {
    'normalised MSE': { better: 'lower' },
    'CE-loss score': { better: 'higher' },
    L0: { better: 'lower' },
    dead: { better: 'lower' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const opened = once(() => open(context))
    const found = await penalties(context, opened, {
      label: 'ReLU',
      architecture: (l1) => ({ kind: 'standard', l1 }),
      tried,
      wanted: around,
      site: siteOf,
      expansion,
      tokens,
    })
    const arms = [
      ...expansions.map((times) => ({
        name: wide(times),
        times,
        architecture: { kind: 'topk', k } as object,
      })),
      { name: withoutAux, times: widest, architecture: { kind: 'topk', k, auxiliary: 0 } },
      ...around.map((l0, i) => ({
        name: relu(l0),
        times: expansion,
        architecture: { kind: 'standard', l1: found[i]! },
      })),
    ]
    for (const seed of context.seeds)
      for (const { name, times, architecture } of arms)
        await context.arm(name, seed, async () => {
          const { studied, cache } = await opened()
          const site = siteOf(studied)
          const features = times * cache.widthOf(site)
          const plan = { name: 'sae', architecture, sites: [site], features, seed: random.fold(seed, 1) }
          const [learned] = await learnSaes(context, cache, [plan], { tokens, order: seed })
          return { ...reported(await measured(studied, learned!.saes[0]!)), dead: learned!.dead }
        })
  },
  judge,
})

/** ReLU's metric at L0 = k, seed by seed. */
function reluAt(rows: Rows, metric: string): number[] {
  return rows.at(relu(around[0]), metric).values.map((_, seed) =>
    readAt(
      around.map((l0) => [rows.at(relu(l0), 'L0').values[seed]!, rows.at(relu(l0), metric).values[seed]!]),
      k,
    ),
  )
}

/** Slope and R² of a straight line through logarithms. */
export function powerLaw(points: readonly (readonly [number, number])[]): { slope: number; fit: number } {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const)
  const [x, y] = [0, 1].map((i) => summary(logs.map((point) => point[i as 0 | 1])).mean) as [number, number]
  const across = logs.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
  const both = logs.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0)
  const up = logs.reduce((sum, point) => sum + (point[1] - y) ** 2, 0)
  return { slope: both / across, fit: up === 0 ? 0 : both ** 2 / (across * up) }
}

/** TopK minus ReLU at equal L0: all seeds have to agree, by more than their spread. */
export function judge(rows: Rows) {
  const compared = (metric: string) => {
    const other = reluAt(rows, metric)
    const differences = rows.at(wide(expansion), metric).values.map((value, seed) => value - other[seed]!)
    const { mean, spread } = summary(differences)
    return { mean, spread, topk: rows.mean(wide(expansion), metric), relu: summary(other).mean }
  }
  const [mse, ce] = [compared('normalised MSE'), compared('CE-loss score')]
  const [fewer, more] = around.map((l0) => rows.at(relu(l0), 'L0').values)
  const between = fewer!.every((l0) => l0 > k / 2 && l0 <= k) && more!.every((l0) => l0 >= k && l0 < 2 * k)
  const better = between && mse.mean < -mse.spread && ce.mean > ce.spread
  const dead = rows.difference(wide(widest), withoutAux, 'dead')
  const [aux, none] = [rows.mean(wide(widest), 'dead'), rows.mean(withoutAux, 'dead')]
  const alive = dead.mean < 0 && -dead.mean > dead.half
  const law = powerLaw(expansions.map((times) => [times, rows.mean(wide(times), 'normalised MSE')]))
  const follows = law.slope < 0 && law.fit > 0.95
  const count = [better, alive, follows].filter(Boolean).length
  return {
    verdict: count === 3 ? 'reproduced' : count > 0 ? 'partly' : 'not at this scale',
    reason: `ReLU's L0 is ${rows.mean(relu(around[0]), 'L0').toFixed(1)} and ${rows.mean(relu(around[1]), 'L0').toFixed(1)}${between ? '' : `, which is not on both sides of ${k} in all seeds: nothing is compared`}. At L0 = ${k}: normalised MSE ${mse.topk.toFixed(4)} for TopK, ${mse.relu.toFixed(4)} for ReLU (difference ${mse.mean.toFixed(4)}, spread ${mse.spread.toFixed(4)}), CE-loss score ${ce.topk.toFixed(4)} and ${ce.relu.toFixed(4)} (difference ${ce.mean.toFixed(4)}, spread ${ce.spread.toFixed(4)}). Dead features: ${(100 * aux).toFixed(1)} % with AuxK, ${(100 * none).toFixed(1)} % without, at ${widest} times the width. Over widths ${expansions.join(', ')} normalised MSE goes with the power ${law.slope.toFixed(3)} of width, R² ${law.fit.toFixed(3)}. Asked for: ReLU on both sides, within a factor of two, and both metrics better by more than the spread of the seeds; fewer dead features beyond the 95 % interval; a falling line in logarithms with R² above 0.95. 'partly' is one or two of the three.`,
  } as const
}
