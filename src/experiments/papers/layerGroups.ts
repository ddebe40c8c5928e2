/** Layer groups (paper 164): does one SAE for several layers do as well as one for each, in less time? */
import { random } from '../../array/index.ts'
import { ActivationSource } from '../../interp/activations/index.ts'
import { amad, angularDistances, type Groups, layerGroups, type SaeMetrics } from '../../interp/sae/index.ts'
import { type ExperimentContext, experiment, type Rows } from '../experiment.ts'
import { cached, type Learned, learnSaes, measured, openStudied, windowLength } from '../saes.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const k = 32
const tokens = 100_000
const expansion = 4
const counts = [1, 2, 3, 4] as const
const evaluated = 4096

const perLayer = 'one a layer'
const grouped = (count: number): string => (count === 1 ? '1 group' : `${count} groups`)

async function open(context: ExperimentContext) {
  const studied = await openStudied(context)
  const { model, learned, begin, exclude } = studied
  // All layers but the last, as in the paper: what leaves it is of another kind.
  const layers = Array.from({ length: model.spec.layers - 1 }, (_, layer) => layer)
  const sites = layers.map((layer) => `blocks.${layer}.hook_resid_post`)
  const cache = await cached(context, studied, learned, 'layers', sites, tokens)
  const source = new ActivationSource({ model, tokens: learned, sites, length: windowLength, begin, exclude })
  const distances = await angularDistances(source, 10_000)
  return { studied, cache, sites, distances }
}

export default experiment({
  id: 'layer-groups',
  paper: 164,
  title: 'One SAE for a group of layers',
  claim:
    'Training one SAE for each group of similar neighbouring layers instead of one for each layer is up to six times as fast on Pythia 160M, without worse reconstruction or downstream performance.',
  setting: `The residual stream after all blocks but the last of ${describeModel(defaultModel())}. Layers are grouped by mean angular distance, complete linkage. TopK SAEs, k = ${k}, ${expansion} times the width; each SAE learns from ${tokens} rows, those of a group in equal shares from its layers, AdamW, batch 1024, rate 0.001. Each SAE of a group is measured at each of its layers, on ${evaluated} held-out tokens; metrics are means over layers, 'worst' is the layer that loses most. 'seconds' is the time of the steps of all SAEs of an arm, without reading rows. The paper trains on a billion tokens a SAE and also measures circuits.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, the last 2 % held out',
  baseline: perLayer,
  metrics: {
    'explained variance': { better: 'higher' },
    'CE-loss score': { better: 'higher' },
    worst: { better: 'higher' },
    seconds: { better: 'lower', unit: 's' },
    SAEs: { better: 'lower' },
    AMAD: { better: 'lower' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const opened = once(() => open(context))
    const arms: (readonly [string, number | undefined])[] = [
      [perLayer, undefined],
      ...counts.map((count) => [grouped(count), count] as const),
    ]
    for (const seed of context.seeds)
      for (const [name, count] of arms)
        await context.arm(name, seed, async () => {
          const { studied, cache, sites, distances } = await opened()
          const groups: Groups = layerGroups(distances.values, sites.length, count ?? sites.length)
          context.note(`groups ${groups.map((group) => group.join(' ')).join(' | ')}`)
          const plans = groups.map((group, i) => ({
            name: `group-${i}`,
            architecture: { kind: 'topk', k },
            sites: group.map((layer) => sites[layer]!),
            features: expansion * cache.widthOf(sites[0]!),
            seed: random.fold(seed, i),
          }))
          const learned: Learned[] = []
          for (const plan of plans)
            learned.push(...(await learnSaes(context, cache, [plan], { tokens, order: seed })))
          const seconds = learned.reduce((sum, one) => sum + one.seconds, 0)
          const metrics: SaeMetrics[] = []
          for (const { saes } of learned)
            for (const sae of saes) metrics.push(await measured(studied, sae, evaluated))
          const mean = (of: (one: SaeMetrics) => number): number =>
            metrics.reduce((sum, one) => sum + of(one), 0) / metrics.length
          return {
            'explained variance': mean((one) => one.explained_variance),
            'CE-loss score': mean((one) => one.ce_loss_score),
            worst: Math.min(...metrics.map((one) => one.ce_loss_score)),
            seconds,
            SAEs: groups.length,
            AMAD: amad(groups, distances.values, sites.length),
          }
        })
  },
  judge,
})

/** What may be lost, in explained variance and in CE-loss score. */
const close = 0.02

export function judge(rows: Rows) {
  const all = counts.map((count) => {
    const loss = (metric: string): number => rows.mean(perLayer, metric) - rows.mean(grouped(count), metric)
    return {
      count,
      variance: loss('explained variance'),
      ce: loss('CE-loss score'),
      faster: rows.mean(perLayer, 'seconds') / rows.mean(grouped(count), 'seconds'),
      fewer: rows.mean(perLayer, 'SAEs') / count,
    }
  })
  const good = all.filter(({ variance, ce }) => variance <= close && ce <= close)
  const cheapest = good[0]
  const told = ({ count, variance, ce, faster }: (typeof all)[number]): string =>
    `${grouped(count)}: ${faster.toFixed(1)} times as fast, explained variance ${(-variance).toFixed(4)}, CE-loss score ${(-ce).toFixed(4)}`
  return {
    verdict:
      cheapest && cheapest.fewer > 1.5 && cheapest.faster > 0.75 * cheapest.fewer
        ? cheapest.count <= 2
          ? 'reproduced'
          : 'partly'
        : 'not at this scale',
    reason: `Against one SAE a layer (explained variance ${rows.mean(perLayer, 'explained variance').toFixed(4)}, CE-loss score ${rows.mean(perLayer, 'CE-loss score').toFixed(4)}): ${all.map(told).join('; ')}. Asked for: one or two groups that lose at most ${close} of both and are faster by three quarters at least of the factor by which they are fewer; 'partly' is three or four groups.`,
  } as const
}
