/** Seed stability (paper 219): do SAEs that differ in their first directions alone learn the same features? */
import { random, type Tensor, tensor } from '../../array/index.ts'
import {
  encode,
  matchSaes,
  type Sae,
  type SaeParams,
  sharedThreshold,
  shareOf,
} from '../../interp/sae/index.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import {
  cached,
  learnSaes,
  measured,
  middle,
  openStudied,
  penalties,
  type Studied,
  untrainedSae,
} from '../saes.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const k = 32
const tokens = 200_000
const expansion = 4
const tried = [1, 2.5, 6] as const
/** Of the order of rows, which all SAEs have alike. */
const order = 1

const siteOf = (studied: Pick<Studied, 'model'>): string => `blocks.${middle(studied)}.hook_mlp_out`

async function open(context: ExperimentContext) {
  const studied = await openStudied(context)
  const cache = await cached(context, studied, studied.learned, 'mlp', [siteOf(studied)], tokens)
  return { studied, cache }
}

/** Features that are active somewhere in held-out rows, 1 or 0. */
async function alive(context: ExperimentContext, sae: Sae, rows: Float32Array): Promise<Uint8Array> {
  const { dIn, dSae } = sae.config
  const program = context.engine.jit((params: SaeParams, x: Tensor) => encode({ ...sae, params }, x).max(0), {
    name: 'alive',
  })
  try {
    const most = await program(sae.params, tensor(rows, [rows.length / dIn, dIn]))
    return Uint8Array.from({ length: dSae }, (_, i) => Number((most.data as Float32Array)[i]! > 0))
  } finally {
    program.dispose()
  }
}

export default experiment({
  id: 'seed-stability',
  paper: 219,
  title: 'Features that SAEs of other seeds have in common',
  claim:
    'SAEs trained on the same data in the same order, with other first weights, share only a part of their features (30 % of 131,072 in Llama 3 8B); ReLU SAEs with L1 share more than TopK ones, also at the same sparsity.',
  setting: `The MLP's output in the middle block of ${describeModel(defaultModel())}. Three SAEs of each kind, ${expansion} times the width, on the same ${tokens} tokens of stories in the same order; the seed sets their first directions alone. TopK has k = ${k}; ReLU with L1 (unit-norm decoder) has the penalty at which L0 is ${k}, found by runs with another seed. Seed i is compared with seed i + 1, in a circle. Shared: the matchings of decoder rows and of encoder columns (each of the largest sum of cosines) give the same counterpart, and both cosines are at least ${sharedThreshold}. 'of the living' leaves out features that are not active on 4096 tokens. 'untrained' are first directions as they are.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, the last 2 % held out',
  baseline: 'ReLU',
  metrics: {
    shared: { better: 'higher' },
    'of the living': { better: 'higher' },
    'decoder cosine': { better: 'higher' },
    L0: { better: 'lower' },
    'normalised MSE': { better: 'lower' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const { seeds } = context
    if (seeds.length < 2) throw new Error('seed-stability: compares seeds, so give two at least')
    const opened = once(() => open(context))
    const [penalty] = await penalties(context, opened, {
      label: 'ReLU',
      architecture: (l1) => ({ kind: 'standard', decoder: 'unit', l1 }),
      tried,
      wanted: [k],
      site: siteOf,
      expansion,
      tokens,
    })
    const kinds: Readonly<Record<string, object>> = {
      TopK: { kind: 'topk', k },
      ReLU: { kind: 'standard', decoder: 'unit', l1: penalty! },
    }
    for (const [name, architecture] of Object.entries(kinds)) {
      const trained = once(async () => {
        const { studied, cache } = await opened()
        const site = siteOf(studied)
        const features = expansion * cache.widthOf(site)
        const plans = seeds.map((seed) => ({
          ...{ name: `seed-${seed}`, architecture, sites: [site], features },
          seed: random.fold(seed, 1),
        }))
        return (await learnSaes(context, cache, plans, { tokens, order })).map(({ saes }) => saes[0]!)
      })
      for (const [i, seed] of seeds.entries())
        await context.arm(name, seed, async () => {
          const { studied, cache } = await opened()
          const saes = await trained()
          const [own, other] = [saes[i]!, saes[(i + 1) % saes.length]!]
          const { l0, explained_variance } = await measured(studied, own, 8192)
          const rows = cache.read(
            siteOf(studied),
            Array.from({ length: 4096 }, (_, at) => at),
          )
          return {
            ...(await inCommon(context, own, other, await alive(context, own, rows))),
            L0: l0,
            'normalised MSE': 1 - explained_variance,
          }
        })
    }
    for (const seed of seeds)
      await context.arm('untrained', seed, async () => {
        const { studied, cache } = await opened()
        const site = siteOf(studied)
        const features = expansion * cache.widthOf(site)
        const [own, other] = [seed, seed + 1].map((one) =>
          untrainedSae(cache, {
            ...{ name: 'sae', architecture: kinds.TopK!, sites: [site], features },
            seed: random.fold(one, 1),
          }),
        )
        return inCommon(context, own!, other!)
      })
  },
  judge,
})

async function inCommon(
  { engine }: ExperimentContext,
  a: Sae,
  b: Sae,
  living?: Uint8Array,
): Promise<Metrics> {
  const { decoder, shared, share } = await matchSaes(engine, a, b)
  return {
    shared: share,
    ...(living && { 'of the living': shareOf(shared, living) }),
    'decoder cosine': decoder.cosine.reduce((sum, cosine) => sum + cosine, 0) / decoder.cosine.length,
  }
}

export function judge(rows: Rows) {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
  const [topk, relu] = [rows.at('TopK', 'shared'), rows.at('ReLU', 'shared')]
  const { mean, half } = rows.difference('TopK', 'ReLU', 'shared')
  const [partial, below] = [topk.mean < 0.9 && relu.mean < 0.9, mean < 0 && -mean > half]
  const [l0, other] = [rows.mean('TopK', 'L0'), rows.mean('ReLU', 'L0')]
  const matched = Math.abs(other / l0 - 1) < 0.2
  const alike = (name: string): string => rows.mean(name, 'decoder cosine').toFixed(3)
  return {
    verdict: partial && below && matched ? 'reproduced' : partial ? 'partly' : 'not at this scale',
    reason: `Shared: ${percent(topk.mean)} of TopK's features (L0 ${l0.toFixed(1)}), ${percent(relu.mean)} of ReLU's (L0 ${other.toFixed(1)}); difference ${(100 * mean).toFixed(1)} ± ${(100 * half).toFixed(1)} points (95 % interval of ${topk.n} pairs). Of the living: ${percent(rows.mean('TopK', 'of the living'))} and ${percent(rows.mean('ReLU', 'of the living'))}; untrained: ${percent(rows.mean('untrained', 'shared'))}. The mean cosine of matched decoder rows is ${alike('TopK')}, ${alike('ReLU')} and ${alike('untrained')}. Asked for: both below 90 %, TopK below ReLU beyond the interval, and numbers of active features within a fifth of each other; 'partly' is the first alone.`,
  } as const
}
