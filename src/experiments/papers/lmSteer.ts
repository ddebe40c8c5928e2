/** LM-Steer (paper 3): does a linear change of the output embeddings steer a style, in any measure, and between models? */
import { leaves } from '../../array/index.ts'
import { Model } from '../../model/index.ts'
import { load } from '../../model/load.ts'
import { stanceRows } from '../../steer/fit.ts'
import {
  controlVectorEdits,
  fitControlVector,
  fitWordSteer,
  joinSteers,
  measureTexts,
  transferSteer,
  type WordSteer,
  wordSteerEdits,
} from '../../steer/index.ts'
import { lora, overFrozen } from '../../train/adapters/index.ts'
import { padded } from '../../train/data/padded.ts'
import { adamw, nextToken, Trainer } from '../../train/index.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import { openSentiment, type Sentiment } from '../sentiment.ts'
import { defaultModel, describeModel, once, smallConfig, stories, trainSmall } from '../small.ts'

const training = { steps: 300, batch: 16, length: 64 } as const
const steer = { rank: 64, epsilon: 1e-3, rate: 0.01 } as const
const loraRate = 0.003
const strengths = [-2, -1, 1, 2] as const
/** Not judged: measured after the others were known, which cost almost nothing, as far as the vector was. */
const further = 4
const vectorStrengths = [1, 2, 4] as const
const prompts = 48
const samples = 8
const tokens = 40
const prefix = 'This is a very sad story. Everyone was sad and cried a lot. '
const second = {
  steps: 400,
  config: { hidden_size: 96, intermediate_size: 256, num_hidden_layers: 3 },
} as const

const named = (value: number): string => `LM-Steer at ${value}`
const moved = (value: number): string => `transferred at ${value}`

interface Opened {
  readonly model: Model
  readonly texts: Sentiment
}

/** Texts of a style as +1, of its opposite as −1. */
const stances = (style: readonly string[], opposite: readonly string[]) => [
  ...style.map((text) => ({ text, label: 1 })),
  ...opposite.map((text) => ({ text, label: -1 })),
]

const steerFor = (
  { engine, signal }: ExperimentContext,
  model: Model,
  style: readonly string[],
  opposite: readonly string[],
  seed: number,
): Promise<WordSteer> =>
  fitWordSteer(engine, model, stances(style, opposite), { ...training, ...steer, seed, signal })

/** The values of the style alone. */
const only = (own: WordSteer, value: number) =>
  wordSteerEdits(
    own,
    own.names.map((name) => (name === 'domain' ? 0 : value)),
  )

/** The same number of texts, all of them sad. */
async function tuned(
  { engine, signal }: ExperimentContext,
  { model, texts }: Opened,
  seed: number,
): Promise<Model> {
  const adapter = lora(load(defaultModel()), { rank: 4, alpha: 8, targets: 'all-linear', seed })
  const rows = stanceRows(model, stances(texts.sad, []))
  const { batch, length, steps } = training
  const batches = await padded(
    { length: rows.length, at: (i) => rows[i]! },
    { batch, length, tooLong: 'cut', seed },
  )
  using trainer = new Trainer({
    engine,
    model: overFrozen(model.params, adapter),
    objective: nextToken(model.spec),
    batches: {
      async at(step) {
        const { tokens, mask } = await batches.at(step)
        return { tokens, mask }
      },
    },
    optimizer: adamw({ weightDecay: 0 }),
    rate: () => loraRate,
    seed,
  })
  for (let i = 0; i < steps; i++) {
    signal?.throwIfAborted()
    await trainer.next()
  }
  for (const [, leaf] of leaves(trainer.params)) await leaf.load()
  return model.adapted([{ ...adapter, params: trainer.params }])
}

async function measured(
  { signal }: ExperimentContext,
  { texts }: Opened,
  model: Model,
  judge: Model,
  seed: number,
  before = '',
): Promise<Metrics> {
  const quality = await measureTexts(model, judge, {
    prompts: texts.prompts.slice(0, prompts),
    prefix: before,
    isTarget: (text) => !texts.isHappy(text),
    generate: { seed: 1000 * (seed + 1), samples, maxTokens: tokens, temperature: 1 },
    batch: prompts,
    signal,
  })
  const { target, perplexity, distinct2, repetition4, texts: all } = quality
  const speech = all.filter((text) => text.includes('"')).length / all.length
  return {
    sad: target,
    perplexity,
    distinct2,
    repetition4,
    speech,
    words: 1 - all.filter(texts.saysHappy).length / all.length,
  }
}

export default experiment({
  id: 'lm-steer',
  paper: 3,
  title: 'LM-Steer: a linear change of the output embeddings steers the style',
  claim:
    'A matrix W learned on labelled texts steers a frozen model through (I + εW) on its output embeddings: in proportion to ε, together with others by addition, and in another model by a linear map between the embeddings; as well as controlled decoding and fine-tuning do.',
  setting: `Sad against happy: two neighbouring sentences of TinyStories with sad words of VADER's lexicon and no happy ones, or the other way round, 1000 of each. LM-Steer of rank ${steer.rank} (ε ${steer.epsilon}, rate ${steer.rate}, Adam, ${training.steps} steps of ${training.batch} texts). LoRA of rank 4 sees as many texts, all sad (rate ${loraRate}); the mean difference is of the states of all 2000 texts behind the middle layer; the prompt is '${prefix.trim()}'. 'sad' is the share of ${prompts * samples} continuations (${prompts} beginnings of other stories, ${tokens} tokens, temperature 1) that naive Bayes takes for sad, which learned from other stories and sees no word of the lexicon; 'words' the share without happy words or with sad ones too. 'perplexity' is of the continuations under the model as it is, given the bare beginning; 'speech' the share with direct speech, the second style of 'both steers'. The second model is trained here, ${second.steps} steps, with the same tokenizer. A first run with 128 continuations left the lower end within its interval (0.13 against 0.26), and the verdict at 'not at this scale'; with three times as many it is measured by the same rule. The paper steers GPT-2 and GPT-Neo between reviews of both kinds, judged by a classifier.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories; the lexicon of VADER',
  baseline: 'nothing',
  metrics: {
    sad: { better: 'higher', unit: 'share of continuations' },
    perplexity: { better: 'lower' },
    distinct2: { better: 'higher' },
    repetition4: { better: 'lower' },
    speech: { better: 'higher', unit: 'share of continuations' },
    words: { better: 'higher', unit: 'share of continuations' },
  },
  version: 2,
  seeds: [0, 1, 2],
  async run(context) {
    const { engine, note } = context
    const opened = once(async (): Promise<Opened> => {
      const texts = await openSentiment(context)
      note(
        `the classifier agrees with the rule on ${(100 * texts.agreement).toFixed(1)} % of texts that it has not seen`,
      )
      return { model: Model.open(defaultModel(), engine), texts }
    })
    const other = once(async () => {
      const { model } = await opened()
      note('training the second model ...')
      const corpus = await stories(context, model.tokenizer!, undefined, 3000)
      const config = smallConfig(model.spec.vocab, second.config)
      const { spec, params } = await trainSmall(context, { corpus, seed: 7, steps: second.steps, config })
      return new Model({ engine, spec, params, tokenizer: model.tokenizer, path: 'second' })
    })
    for (const seed of context.seeds) {
      const sad = once(async () => {
        const { model, texts } = await opened()
        return steerFor(context, model, texts.sad, texts.happy, seed)
      })
      const arm = (
        name: string,
        make: (opened: Opened) => Promise<readonly [model: Model, judge: Model, before?: string]>,
      ) =>
        context.arm(name, seed, async () => {
          const own = await opened()
          const [model, judge, before] = await make(own)
          return measured(context, own, model, judge, seed, before)
        })
      await arm('nothing', async ({ model }) => [model, model])
      await arm('prompt', async ({ model }) => [model, model, prefix])
      for (const value of [...strengths, further])
        await arm(named(value), async ({ model }) => [model.edited(only(await sad(), value)), model])
      const vector = once(async () => {
        const { model, texts } = await opened()
        const layer = Math.floor(model.spec.layers / 2)
        const kinds = { positive: texts.sad, negative: texts.happy }
        return fitControlVector(model, kinds, { layers: [layer], pooling: 'mean' })
      })
      for (const strength of vectorStrengths)
        await arm(`mean difference × ${strength}`, async ({ model }) => [
          model.edited(controlVectorEdits(await vector(), strength)),
          model,
        ])
      await arm('LoRA', async (own) => [await tuned(context, own, seed), own.model])
      const spoken = once(async () => {
        const { model, texts } = await opened()
        return steerFor(context, model, texts.spoken, texts.told, seed)
      })
      await arm('speech alone', async ({ model }) => [model.edited(only(await spoken(), 1)), model])
      await arm('both steers', async ({ model }) => [
        model.edited(only(joinSteers([await sad(), await spoken()]), 1)),
        model,
      ])
      await arm('second model', async () => [await other(), await other()])
      for (const value of [-2, 2])
        await arm(moved(value), async ({ model }) => {
          const to = await other()
          return [to.edited(only(transferSteer(await sad(), model, to), value)), to]
        })
    }
  },
  judge,
})

/** What a text may cost: the perplexity of unsteered ones by this factor. */
const affordable = 1.5

function judge(rows: Rows) {
  const inOrder = [named(-2), named(-1), 'nothing', named(1), named(2)]
  const rates = inOrder.map((name) => rows.mean(name, 'sad'))
  const monotone = rates.every((rate, i) => i === 0 || rate >= rates[i - 1]!)
  const above = ({ mean, half }: { mean: number; half: number }): boolean => mean > half
  const steers =
    monotone &&
    above(rows.difference(named(2), 'nothing', 'sad')) &&
    above(rows.difference('nothing', named(-2), 'sad'))
  const limit = affordable * rows.mean('nothing', 'perplexity')
  const best = (names: readonly string[]) =>
    names
      .filter((name) => rows.mean(name, 'perplexity') <= limit)
      .map((name) => ({ name, rate: rows.mean(name, 'sad') }))
      .reduce((a, b) => (b.rate > a.rate ? b : a), { name: 'none', rate: 0 })
  const ours = best([named(1), named(2)])
  const theirs = best([
    'prompt',
    'LoRA',
    ...vectorStrengths.map((strength) => `mean difference × ${strength}`),
  ])
  const level = ours.rate >= theirs.rate - 0.05
  const adds =
    above(rows.difference('both steers', 'nothing', 'sad')) &&
    above(rows.difference('both steers', 'nothing', 'speech'))
  const moves = above(rows.difference(moved(2), moved(-2), 'sad'))
  const share = (x: number): string => x.toFixed(2)
  const yes = (held: boolean): string => (held ? 'yes' : 'no')
  const held = [steers, level, adds, moves].filter(Boolean).length
  return {
    verdict:
      held === 4
        ? ('reproduced' as const)
        : steers && held > 1
          ? ('partly' as const)
          : ('not at this scale' as const),
    reason: `Share of sad continuations at −2, −1, 0, 1, 2: ${rates.map(share).join(', ')}. Within ${affordable} times the perplexity of unsteered texts (${rows.mean('nothing', 'perplexity').toFixed(1)}) the best LM-Steer (${ours.name}) has ${share(ours.rate)}, the best baseline (${theirs.name}) ${share(theirs.rate)}. Both steers: sad ${share(rows.mean('both steers', 'sad'))}, speech ${share(rows.mean('both steers', 'speech'))} of ${share(rows.mean('nothing', 'speech'))}. In the second model: ${share(rows.mean(moved(-2), 'sad'))} at −2, ${share(rows.mean('second model', 'sad'))} without, ${share(rows.mean(moved(2), 'sad'))} at 2. At ${further}, which is not judged, since it was added when the rest was known: ${share(rows.mean(named(further), 'sad'))} at a perplexity of ${rows.mean(named(further), 'perplexity').toFixed(1)}. Asked for: monotone, with both ends beyond the 95 % interval of the differences; no more than 0.05 behind the best baseline at that cost; both styles up under both steers, and +2 above −2 after the transfer, beyond the interval. 'partly' is the first and one other. Here: steers ${yes(steers)}, level ${yes(level)}, adds ${yes(adds)}, moves ${yes(moves)}.`,
  }
}
