/** Paper 1: do gradient steps on the sparse code of attention queries turn stories happy or sad, at the cost of a vector? */
import type { Edits } from '../../model/index.ts'
import { meanCode } from '../../steer/codes.ts'
import { prototypesOf, sparseQueryEdits } from '../../steer/pullFeatures.ts'
import { alongDirection } from '../../steer/steer.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { signed } from '../probe.ts'
import { defaultModel, describeModel, once } from '../small.ts'
import { contrastAt, trainSae } from '../smallSae.ts'
import { budget, openStyles, rateOf, type Style, type Styles, strongest, styles } from '../styles.ts'

const training = { expansion: 4, steps: 500, batch: 512, rate: 1e-3 }
const steps = 10
const sitesOf = ({ model }: Styles) => {
  const layer = Math.floor(model.spec.layers / 2)
  return { queries: `blocks.${layer}.attn.hook_q`, stream: `blocks.${layer}.hook_resid_post` }
}

/** Both ways at the strength that the budget allows. */
async function bothWays(
  context: ExperimentContext,
  opened: Styles,
  seed: number,
  edits: (style: Style, strength: number) => Edits,
  start: number,
): Promise<Metrics> {
  const found: Record<string, number> = {}
  for (const style of styles) {
    context.signal?.throwIfAborted()
    const { strength, cost } = await strongest(opened, (s) => edits(style, s), { start, budget })
    found[`${style} rate`] = await rateOf(opened, style, edits(style, strength), seed)
    found[`cost of ${style}`] = cost
    found[`strength of ${style}`] = strength
  }
  return {
    'target rate': (found['happy rate']! + found['sad rate']!) / 2,
    'loss increase': (found['cost of happy']! + found['cost of sad']!) / 2,
    ...found,
  }
}

export default experiment({
  id: 'steered-queries',
  paper: 1,
  title: 'Gradient steps on sparse query features',
  claim:
    'Moving the sparse code of the attention queries of one layer by gradient steps towards the prototype of a class turns what a model writes towards this class.',
  setting: `Happy and sad stories: windows of 40 tokens in the upper and lower quartile of mean valence in VADER's lexicon, 1000 of each. TopK SAE (k 32, ${training.expansion} times the width, ${training.steps} steps of ${training.batch} rows) on attn.hook_q of the middle layer, heads side by side, over those windows; prototypes are mean codes. ${steps} steps for each token, by the class likelihood and by the distance; the SAE's error is kept. Beside them the difference of the means of the same windows, added to the queries, or to the residual stream behind the same layer. Each arm has the strength that costs ${budget} nats a token on held-out stories (or less, where 2^16 times the first strength costs less). 'target rate' is the share of 192 continuations of 40 tokens that a naive Bayes judge, learned from other stories, finds to be of the class, mean of both classes: 50 % without steering. The paper steers the cognitive level of feedback with Llama and Mistral. All arms together take about 7 minutes on one core.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories (3000 stories learned from, the last 2 % held out), VADER lexicon',
  baseline: 'unsteered',
  metrics: {
    'target rate': { better: 'higher' },
    'loss increase': { better: 'lower', unit: 'nats a token' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const opened = once(() => openStyles(context))
    const queries = once(async () => {
      const found = await opened()
      const { happy, sad } = found.learned
      return contrastAt(found.model, sitesOf(found).queries, happy, sad)
    })
    const stream = once(async () => {
      const found = await opened()
      const { happy, sad } = found.learned
      return contrastAt(found.model, sitesOf(found).stream, happy, sad)
    })
    for (const seed of context.seeds) {
      const trained = once(async () => {
        const { site, width, rows } = await queries()
        const { model, learned } = await opened()
        context.note(`an SAE at ${site}, seed ${seed} ...`)
        const architecture = { kind: 'topk', k: 32 }
        const { sae, explained } = await trainSae(context, {
          site,
          width,
          rows,
          architecture,
          seed,
          ...training,
        })
        const codes = await Promise.all(styles.map((style) => meanCode(model, sae, learned[style])))
        return { sae, explained, prototypes: prototypesOf({ happy: codes[0]!, sad: codes[1]! }) }
      })
      await context.arm('unsteered', seed, async () => {
        const found = await opened()
        const happy = await rateOf(found, 'happy', {}, seed)
        const { agreement } = found
        return {
          ...{ 'target rate': 0.5, 'loss increase': 0, 'happy rate': happy, 'sad rate': 1 - happy },
          'judge agrees with the lexicon': agreement,
        }
      })
      for (const [name, pull] of [
        ['gradient on sparse queries', 'likelihood'],
        ['gradient of the distance', 'distance'],
      ] as const)
        await context.arm(name, seed, async () => {
          const { sae, explained, prototypes } = await trained()
          const edits = (target: Style, strength: number): Edits =>
            sparseQueryEdits(sae, prototypes, { target, strength, steps, pull })
          return {
            ...(await bothWays(context, await opened(), seed, edits, 0.002)),
            'explained variance': explained,
          }
        })
      for (const [name, place] of [
        ['mean difference of queries', queries],
        ['mean difference of the stream', stream],
      ] as const)
        await context.arm(name, seed, async () => {
          const { site, difference } = await place()
          const edits = (style: Style, strength: number): Edits => ({
            [site]: alongDirection(difference, style === 'happy' ? strength : -strength),
          })
          return bothWays(context, await opened(), seed, edits, 0.25)
        })
    }
  },
  judge(rows) {
    const ours = 'gradient on sparse queries'
    const gain = rows.difference(ours, 'unsteered', 'target rate')
    const ahead = rows.difference(ours, 'mean difference of queries', 'target rate')
    const rises = gain.mean > 0.05 && gain.mean > gain.half
    const behind = ahead.mean < -0.02 && -ahead.mean > ahead.half
    const percent = (name: string): string => `${(100 * rows.mean(name, 'target rate')).toFixed(1)} %`
    return {
      verdict: rises ? (behind ? 'partly' : 'reproduced') : 'not at this scale',
      reason: `Target rate ${percent(ours)} with gradient steps on sparse queries at ${rows.mean(ours, 'loss increase').toFixed(3)} nats, ${percent('mean difference of queries')} with the mean difference of queries at ${rows.mean('mean difference of queries', 'loss increase').toFixed(3)} nats, ${percent('mean difference of the stream')} with that of the residual stream, 50 % unsteered: ${signed(gain, 3)} over unsteered, ${signed(ahead, 3)} against the vector at the same place (95 % intervals of ${rows.at(ours, 'target rate').n} seeds). Asked for: more than 0.05 over unsteered, beyond the interval; 'partly' where the vector at the same place is better by more than 0.02 and the interval.`,
    }
  },
})
