/** Automatic interpretation (paper 157): do explanations hold on new text, and do those of SAEs hold better than neurons'? */
import { random } from '../../array/index.ts'
import type { ActivationCache } from '../../interp/activations/cache.ts'
import {
  type Contexts,
  collectContexts,
  examplesOf,
  Intervention,
  interventionScores,
  namedTokens,
  type OwnedReader,
  type Rule,
  RuleExplainer,
  rowsOfCache,
  ruleRater,
  saeReader,
  score,
  simulation,
  sparsifiedReader,
  thresholdReader,
} from '../../interp/sae/explain/index.ts'
import type { Sae } from '../../interp/sae/index.ts'
import { shuffled } from '../../train/data/random.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import { cached, learnSaes, middle, openStudied, type Studied, untrainedSae } from '../saes.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const k = 32
const expansion = 4
const tokens = 200_000
/** Of the text that explanations come from, and of the text that they are scored on. */
const looked = 80_000
const features = 80
const steered = 12
const divergence = 0.25

interface Setting {
  readonly studied: Studied
  readonly out: string
  readonly neurons: string
  readonly training: ActivationCache
  readonly explaining: { readonly cache: ActivationCache; readonly tokens: Int32Array | Uint16Array }
  readonly scoring: { readonly cache: ActivationCache; readonly tokens: Int32Array | Uint16Array }
}

async function open(context: ExperimentContext): Promise<Setting> {
  const studied = await openStudied(context)
  const block = `blocks.${middle(studied)}`
  const [out, neurons] = [`${block}.hook_mlp_out`, `${block}.mlp.hook_post`]
  const { learned } = studied
  const training = await cached(context, studied, learned, 'mlp', [out], tokens)
  // Behind what SAEs learn from; explanations are scored on what they do not come from.
  const [behind, further] = [learned.subarray(tokens), learned.subarray(tokens + looked)]
  const explaining = await cached(context, studied, behind, 'explain', [out, neurons], looked)
  const scoring = await cached(context, studied, further, 'score', [out, neurons], looked)
  return {
    ...{ studied, out, neurons, training },
    explaining: { cache: explaining, tokens: behind },
    scoring: { cache: scoring, tokens: further },
  }
}

/** Contexts of all features of a reader, on both texts. */
async function collect(
  context: ExperimentContext,
  { explaining, scoring }: Setting,
  site: string,
  reader: OwnedReader,
  seed: number,
): Promise<{ readonly seen: Contexts; readonly held: Contexts }> {
  const of = ({ cache, tokens: text }: Setting['scoring'], own: number): Promise<Contexts> =>
    collectContexts({
      ...{ rows: rowsOfCache(cache, site), reader, tokens: text, signal: context.signal },
      ...{ top: 1, sample: 100, background: 400, seed: random.fold(seed, own) },
    })
  return { seen: await of(explaining, 1), held: await of(scoring, 2) }
}

/** Contexts that a feature has to be active in, and inactive in, of either text. */
const least = 20

/** Explains features drawn by the seed, and scores them; with explanations of one another where `exchanged`. */
async function scored(
  { seen, held }: { readonly seen: Contexts; readonly held: Contexts },
  seed: number,
  exchanged: boolean,
): Promise<{ metrics: Metrics; rules: { feature: number; rule: Rule }[] }> {
  const explainer = new RuleExplainer(seen, { seed })
  const drawn: { feature: number; rule: Rule; examples: NonNullable<ReturnType<typeof examplesOf>> }[] = []
  let tried = 0
  for (const feature of shuffled(
    Array.from({ length: seen.features }, (_, i) => i),
    seed,
  )) {
    if (drawn.length === features) break
    tried++
    const examples = examplesOf(held, feature, { least, seed })
    if (!examples || seen.of(feature).sample.length < least) continue
    const rule = explainer.explain(feature)
    if (rule) drawn.push({ feature, rule, examples })
  }
  if (drawn.length < 2) throw new Error('too few features are active often enough to be explained')
  const sums = { detection: 0, fuzzing: 0, simulation: 0, 'balanced accuracy': 0 }
  for (const [i, { examples }] of drawn.entries()) {
    const { rule } = drawn[exchanged ? (i + 1) % drawn.length : i]!
    const found = await score(ruleRater(rule), examples)
    sums.detection += found.detection
    sums.fuzzing += found.fuzzing
    sums.simulation += simulation(rule, examples)
    sums['balanced accuracy'] += found.detection_accuracy
  }
  const means = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / drawn.length]))
  return {
    metrics: { ...means, features: drawn.length, 'often enough': drawn.length / tried },
    rules: drawn,
  }
}

/** The mean of intervention scores of the first features whose rules name tokens. */
async function intervened(
  { studied, scoring }: Setting,
  site: string,
  rules: readonly { feature: number; rule: Rule }[],
  directionOf: (feature: number) => Float32Array,
): Promise<number> {
  const length = 32
  const prompts = Array.from({ length: 8 }, (_, i) => [
    ...(studied.begin === undefined ? [] : [studied.begin]),
    ...scoring.tokens.subarray(i * 997, i * 997 + length),
  ])
  const intervention = await Intervention.open(studied.model, site, prompts)
  const found = []
  for (const { feature, rule } of rules) {
    if (found.length === steered) break
    const named = namedTokens(rule)
    if (named.length > 0)
      found.push({ named, steered: await intervention.reach(directionOf(feature), divergence) })
  }
  const scores = interventionScores(
    intervention,
    found.map((one) => one.steered),
    found.map(({ named }) => named),
  )
  return scores.reduce((a, b) => a + b, 0) / scores.length
}

/** Of each neuron the number that it exceeds on a share of the rows. */
function thresholdsOf({ explaining: { cache }, neurons }: Setting, share: number): Float32Array {
  const rows = Math.min(8192, cache.rows)
  const values = cache.read(
    neurons,
    Array.from({ length: rows }, (_, i) => i),
  )
  const width = values.length / rows
  return Float32Array.from({ length: width }, (_, neuron) => {
    const own = Float32Array.from({ length: rows }, (_, row) => values[row * width + neuron]!).sort()
    return Math.max(0, own[Math.floor((1 - share) * rows)]!)
  })
}

export const arms = {
  sae: 'SAE',
  exchanged: 'SAE, exchanged explanations',
  neurons: 'neurons',
  sparsified: `neurons, top ${k}`,
  untrained: 'SAE, untrained',
} as const

export default experiment({
  id: 'autointerp',
  paper: 157,
  title: 'Automatic explanations of SAE features and of neurons',
  claim:
    'Explanations that are written automatically predict where SAE features are active; SAE features are much more interpretable than neurons, also than neurons that are made sparse by keeping the k largest.',
  setting: `The middle block's MLP of ${describeModel(defaultModel())}. Features: a TopK SAE of the MLP's output (k = ${k}, ${expansion} times the width, ${tokens} tokens of stories), against the MLP's own neurons: active where they are among the ${k} largest of a token, or where they exceed their own number so that they are active as often as features are on average; and against the same SAE without training. Explanations are rules made by token statistics (at most two clauses of ten tokens), where the paper asks a model of 70 billion parameters: they say nothing of meaning. They come from ${looked} tokens that the SAE has not learned from, and are scored on ${looked} others that neither has seen: detection and fuzzing as AUROC (0.5 is chance) on 50 contexts of 32 tokens with the feature, from all quantiles, and 50 without; simulation as correlation. ${features} features an arm and seed are drawn by lot from those active in ${least} contexts and inactive in ${least} of either text; 'often enough' is their share. 'intervention': ${steered} features are added to the model at a divergence of ${divergence} nats; how much more likely (in nats) the tokens of the explanation become than when others are added.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, in three parts',
  baseline: arms.sparsified,
  metrics: {
    detection: { better: 'higher' },
    fuzzing: { better: 'higher' },
    simulation: { better: 'higher' },
    'balanced accuracy': { better: 'higher' },
    intervention: { better: 'higher', unit: 'nats' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const opened = once(() => open(context))
    const { engine } = context
    for (const seed of context.seeds) {
      const plan = async () => {
        const { training, out } = await opened()
        return {
          ...{ name: 'sae', architecture: { kind: 'topk', k }, sites: [out] },
          features: expansion * training.widthOf(out),
          seed: random.fold(seed, 1),
        }
      }
      const trained = once(async () => {
        const { training } = await opened()
        const [learned] = await learnSaes(context, training, [await plan()], { tokens, order: seed })
        return learned!.saes[0]!
      })
      const contextsOf = async (sae: Sae) => {
        const setting = await opened()
        using reader = saeReader(engine, sae)
        return collect(context, setting, setting.out, reader, seed)
      }
      const own = once(async () => contextsOf(await trained()))
      await context.arm(arms.sae, seed, async () => {
        const setting = await opened()
        const { metrics, rules } = await scored(await own(), seed, false)
        const { W_dec } = (await trained()).params
        const width = W_dec.sizes[1]!
        const row = (feature: number): Float32Array =>
          (W_dec.data as Float32Array).slice(feature * width, (feature + 1) * width)
        return { ...metrics, intervention: await intervened(setting, setting.out, rules, row) }
      })
      await context.arm(arms.exchanged, seed, async () => (await scored(await own(), seed, true)).metrics)
      await context.arm(arms.untrained, seed, async () => {
        const sae = untrainedSae((await opened()).training, await plan())
        return (await scored(await contextsOf(sae), seed, false)).metrics
      })
      const ofNeurons = async (make: (setting: Setting, width: number) => OwnedReader): Promise<Metrics> => {
        const setting = await opened()
        const width = setting.explaining.cache.widthOf(setting.neurons)
        using reader = make(setting, width)
        const found = await collect(context, setting, setting.neurons, reader, seed)
        const { metrics, rules } = await scored(found, seed, false)
        const one = (neuron: number): Float32Array => {
          const direction = new Float32Array(width)
          direction[neuron] = 1
          return direction
        }
        return { ...metrics, intervention: await intervened(setting, setting.neurons, rules, one) }
      }
      await context.arm(arms.sparsified, seed, () =>
        ofNeurons((_, width) => sparsifiedReader(engine, width, k)),
      )
      await context.arm(arms.neurons, seed, () =>
        ofNeurons((setting) => {
          const dSae = expansion * setting.training.widthOf(setting.out)
          return thresholdReader(engine, thresholdsOf(setting, k / dSae))
        }),
      )
    }
  },
  judge,
})

export function judge(rows: Rows) {
  const beats = (other: string, metric: string) => {
    const { mean, half } = rows.difference(arms.sae, other, metric)
    return { mean, half, yes: mean > 0 && mean > half }
  }
  const true_ = ['detection', 'fuzzing'].map((metric) => beats(arms.exchanged, metric))
  const neurons = [arms.neurons, arms.sparsified].map((other) => ({
    other,
    detection: beats(other, 'detection'),
    fuzzing: beats(other, 'fuzzing'),
  }))
  const signed = ({ mean, half }: { mean: number; half: number }): string =>
    `${mean >= 0 ? '+' : ''}${mean.toFixed(3)} ± ${half.toFixed(3)}`
  const holds = true_.every(({ yes }) => yes)
  const better = neurons.filter(({ detection, fuzzing }) => detection.yes && fuzzing.yes).length
  return {
    verdict: holds && better === neurons.length ? 'reproduced' : holds ? 'partly' : 'not at this scale',
    reason: `AUROC of SAE features: detection ${rows.mean(arms.sae, 'detection').toFixed(3)}, fuzzing ${rows.mean(arms.sae, 'fuzzing').toFixed(3)}. Against exchanged explanations ${true_.map(signed).join(' and ')}; ${neurons.map(({ other, detection, fuzzing }) => `against ${other} ${signed(detection)} and ${signed(fuzzing)}`).join('; ')} (95 % intervals of ${rows.at(arms.sae, 'detection').n} seeds). Untrained: ${rows.mean(arms.untrained, 'detection').toFixed(3)} and ${rows.mean(arms.untrained, 'fuzzing').toFixed(3)}. Intervention: SAE ${rows.mean(arms.sae, 'intervention').toFixed(3)}, neurons ${rows.mean(arms.neurons, 'intervention').toFixed(3)} nats. Asked for: better than exchanged explanations, and than both kinds of neurons, in detection and in fuzzing, beyond the intervals; 'partly' is the first alone.`,
  } as const
}
