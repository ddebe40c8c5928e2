/**
 * Paper 104: does a bias on the features in which consistent answers differ from inconsistent ones make answers agree across
 * paraphrases?
 *
 * A sentence tells what has happened to a child; six paraphrases ask how it feels, and the answer is the likeliest of five
 * feelings.
 */
import { random, tensor } from '../../array/index.ts'
import { areaUnderCurve, fitProbe } from '../../interp/logistic.ts'
import { type Edits, Model } from '../../model/index.ts'
import { contrastBias, lfEdits } from '../../steer/biasFeatures.ts'
import { meanCode } from '../../steer/codes.ts'
import { alongDirection } from '../../steer/steer.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { lossOf, mean, signed, windows } from '../probe.ts'
import { defaultModel, describeModel, once, stories } from '../small.ts'
import { activationsOf, trainSae } from '../smallSae.ts'

const training = { expansion: 4, steps: 500, batch: 512, rate: 1e-3 }
const features = 64
const itemsEach = 120
/** Nats a token on unrelated stories that steering may cost where its strength is chosen. */
const allowed = 0.02
/** Strengths that are tried, of a bias and of a vector alike. */
const strengths = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32] as const

const names = ['Tom', 'Lily', 'Tim', 'Mia', 'Ben', 'Sue', 'Max', 'Anna', 'Sam', 'Lucy', 'Jack', 'Sara']
const things = ['ball', 'car', 'hat', 'box', 'bird', 'boat', 'kite', 'cup', 'dress', 'doll', 'fish', 'toy']
const good = [
  'Mom gave NAME a new THING.',
  'NAME won the race and got a THING.',
  'NAME found the lost THING.',
  'Dad made a THING for NAME.',
  'NAME played with a friend and the THING all day.',
  'NAME got a big hug and a THING.',
  'NAME helped an old man, and he gave NAME a THING.',
  'It was a birthday, and NAME got a THING.',
]
const bad = [
  'NAME lost the THING.',
  'The THING broke into pieces.',
  'NAME fell down and hurt a leg.',
  'A big dog barked at NAME.',
  'It was dark, and NAME heard a loud noise.',
  'A boy took the THING from NAME.',
  'It rained, and the THING of NAME got dirty.',
  'NAME could not find Mom in the store.',
]
/** The first three are right after a good event, the others after a bad one. */
const feelings = ['happy', 'excited', 'proud', 'sad', 'scared', 'angry']
const glad = 3
/** Some of them lead astray: what others see, or ask, is more often sad. */
const asks = [
  'NAME was very',
  'NAME said, "I am',
  'Mom saw that NAME was',
  'NAME went home and felt',
  '"Why are you so',
  'Everyone could see that NAME was too',
]

interface Item {
  /** Tokens of each paraphrase. */
  readonly prompts: readonly number[][]
  /** Whether what has happened is good. */
  readonly good: boolean
}

interface Opened {
  readonly model: Model
  /** Tokens of the feelings. */
  readonly answers: readonly number[]
  readonly learned: Int32Array | Uint16Array
  /** Windows of stories held out, and the loss on them. */
  readonly unrelated: readonly number[][]
  readonly loss: number
}

async function open(context: ExperimentContext): Promise<Opened> {
  const model = Model.open(defaultModel(), context.engine)
  const corpus = await stories(context, model.tokenizer!, undefined, 1000)
  const encode = (text: string): number[] => model.tokenizer!.encode(text, { addSpecialTokens: false }).ids
  const answers = feelings.map((feeling) => encode(` ${feeling}`)[0]!)
  if (new Set(answers).size < answers.length) throw new Error('two feelings begin with the same token')
  const unrelated = windows(corpus.heldOut, { count: 48, length: 64, seed: 1 })
  return { model, answers, learned: corpus.learned, unrelated, loss: await lossOf(model, unrelated) }
}

/** Items of one half of the names, things and events: what is found on the one half is measured on the other. */
function itemsOf(model: Model, half: 0 | 1, seed: number): Item[] {
  const uniform = random.generator(random.fold(seed, half))
  const pick = (list: readonly string[]): string => {
    const own = list.filter((_, i) => i % 2 === half)
    return own[Math.floor(uniform() * own.length)]!
  }
  return Array.from({ length: itemsEach }, (_, i) => {
    const isGood = i % 2 === 0
    const [name, thing, event] = [pick(names), pick(things), pick(isGood ? good : bad)]
    return {
      prompts: asks.map((ask) => {
        const text = `Once upon a time, there was a child named NAME. ${event} ${ask}`
        return model.tokenizer!.encode(text.replaceAll('NAME', name).replaceAll('THING', thing)).ids
      }),
      good: isGood,
    }
  })
}

interface Answers {
  /** Of each item the distribution over feelings after each paraphrase. */
  readonly distributions: readonly (readonly Float64Array[])[]
  /** Whether each paraphrase is answered as most of its item's are. */
  readonly consistent: readonly boolean[]
  readonly metrics: Metrics
}

/** Places of prompts that are of one length, which run together. */
function ofOneLength(prompts: readonly number[][]): number[][] {
  const found = new Map<number, number[]>()
  for (const [i, { length }] of prompts.entries()) found.set(length, [...(found.get(length) ?? []), i])
  return [...found.values()]
}

const leading = (p: Float64Array): number => p.indexOf(Math.max(...p))

async function answer(
  { model, answers }: Opened,
  items: readonly Item[],
  edit: Edits = {},
): Promise<Answers> {
  const prompts = items.flatMap(({ prompts }) => prompts)
  const all: Float64Array[] = new Array(prompts.length)
  for (const places of ofOneLength(prompts))
    for (let from = 0; from < places.length; from += 32) {
      const own = places.slice(from, from + 32)
      const { logits } = await model.run(
        own.map((i) => prompts[i]!),
        { read: ['logits'], edit },
      )
      const data = (await logits!.load()) as Float32Array
      const [, length, vocab] = logits!.sizes as [number, number, number]
      own.forEach((i, row) => {
        const last = (row * length + length - 1) * vocab
        const scores = answers.map((token) => data[last + token]!)
        const most = Math.max(...scores)
        const shares = Float64Array.from(scores, (score) => Math.exp(score - most))
        const total = shares.reduce((a, b) => a + b)
        all[i] = shares.map((share) => share / total)
      })
      logits!.dispose()
    }
  const distributions = items.map((_, i) => all.slice(i * asks.length, (i + 1) * asks.length))
  const chosen = distributions.map((own) => own.map(leading))
  const consistent = chosen.flatMap((own) => {
    const counts = own.map((feeling) => own.filter((other) => other === feeling).length)
    const most = own[counts.indexOf(Math.max(...counts))]
    return own.map((feeling) => feeling === most)
  })
  const pairs = chosen.flatMap((own) =>
    own.flatMap((feeling, i) => own.slice(i + 1).map((other) => Number(feeling === other))),
  )
  return {
    distributions,
    consistent,
    metrics: {
      agreement: mean(pairs),
      divergence: mean(distributions.map(divergence)),
      accuracy: mean(
        items.flatMap(({ good }, i) => chosen[i]!.map((feeling) => Number(feeling < glad === good))),
      ),
    },
  }
}

/** Jensen and Shannon's divergence of several distributions, in nats. */
function divergence(own: readonly Float64Array[]): number {
  const entropy = (p: Float64Array): number => -p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0)
  const middle = own[0]!.map((_, j) => mean(own.map((p) => p[j]!)))
  return entropy(middle) - mean(own.map(entropy))
}

/** States of the last tokens at a site, one row for each prompt. */
async function lastStates(model: Model, site: string, prompts: readonly number[][]): Promise<Float32Array[]> {
  const found: Float32Array[] = new Array(prompts.length)
  for (const places of ofOneLength(prompts)) {
    const { length } = prompts[places[0]!]!
    const rows = await activationsOf(
      model,
      site,
      places.map((i) => prompts[i]!),
    )
    const width = rows.length / (places.length * length)
    places.forEach((i, row) => {
      found[i] = rows.slice(((row + 1) * length - 1) * width, (row + 1) * length * width)
    })
  }
  return found
}

interface Found {
  readonly layer: number
  /** Area of the probe of each layer, on items that it has not learned from. */
  readonly areas: readonly number[]
  readonly items: readonly Item[]
  readonly before: Answers
  readonly states: readonly Float32Array[]
}

/** The layer from whose states a probe best tells consistent inputs, learned on two items of three. */
async function locate(opened: Opened, seed: number): Promise<Found> {
  const { model } = opened
  const items = itemsOf(model, 0, seed)
  const before = await answer(opened, items)
  const prompts = items.flatMap(({ prompts }) => prompts)
  const learns = (i: number): boolean => Math.floor(i / asks.length) % 3 !== 0
  const layers: { area: number; states: Float32Array[] }[] = []
  for (let layer = 0; layer < model.spec.layers; layer++) {
    const states = await lastStates(model, `blocks.${layer}.hook_resid_post`, prompts)
    const part = (learned: boolean) => {
      const places = prompts.flatMap((_, i) => (learns(i) === learned ? [i] : []))
      return { rows: places.map((i) => states[i]!), labels: places.map((i) => before.consistent[i]!) }
    }
    const [own, other] = [part(true), part(false)]
    const probe = fitProbe(own.rows, own.labels, { l2: 0.1 })
    layers.push({
      area: areaUnderCurve(
        other.rows.map((row) => probe.logit(row)),
        other.labels,
      ),
      states,
    })
  }
  const areas = layers.map(({ area }) => area)
  const layer = areas.indexOf(Math.max(...areas))
  return { layer, areas, items, before, states: layers[layer]!.states }
}

/** The strength with the most agreement on the items that it was found on, at the cost that is allowed; then the others. */
async function measured(
  context: ExperimentContext,
  opened: Opened,
  { items, before }: Found,
  seed: number,
  edits: (strength: number) => Edits,
): Promise<Metrics> {
  let best = { strength: 0, agreement: before.metrics.agreement! }
  for (const strength of strengths) {
    context.signal?.throwIfAborted()
    const cost = (await lossOf(opened.model, opened.unrelated, edits(strength))) - opened.loss
    if (!(cost <= allowed)) break
    const { agreement } = (await answer(opened, items, edits(strength))).metrics
    if (agreement! > best.agreement) best = { strength, agreement: agreement! }
  }
  const edit = best.strength === 0 ? {} : edits(best.strength)
  const { metrics } = await answer(opened, itemsOf(opened.model, 1, seed), edit)
  return {
    ...metrics,
    'loss increase': (await lossOf(opened.model, opened.unrelated, edit)) - opened.loss,
    strength: best.strength,
    'agreement where it was chosen': best.agreement,
  }
}

export default experiment({
  id: 'lf-steering',
  paper: 104,
  title: 'LF-Steering: features of consistency',
  claim:
    'A bias on the latent features of one layer in which consistent inputs differ from inconsistent ones makes a model answer paraphrases alike, more than steering dense states does, and leaves unrelated text alone.',
  setting: `A sentence tells what has happened to a child, good or bad, and ${asks.length} paraphrases ask how it feels; the answer is the likeliest of ${feelings.join(', ')}, and right where it is glad after a good event. ${itemsEach} items of one half of the names, things and events to find everything on, as many of the other half to measure on. An input is consistent where it is answered as most of its item's paraphrases are. The layer is the one whose last states tell a linear probe most (area under the curve, on a third of the items). TopK SAE (k 32, ${training.expansion} times the width, ${training.steps} steps of ${training.batch} rows of stories and of the first half's prompts) on its hook_resid_post; bias of ${features} features. The dense vector is the difference of the means of the same states. Strength: of ${strengths.join(', ')} the one with the most agreement on the first half that costs at most ${allowed} nats a token on unrelated stories, or none. 'agreement' is over pairs of paraphrases, 'divergence' that of Jensen and Shannon. The paper's models answer questions of NLU and NLG sets. The paraphrases were chosen, before anything was steered, so that the model does not agree with itself: with plainer ones ('NAME felt', 'NAME was so') it does in 87 % of pairs, and no strength was better than none. Five seeds: with three the interval was as wide as the effect. All arms together take about 10 minutes on one core.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'Made-up stories; TinyStories for the SAE (2000 stories) and as unrelated text',
  baseline: 'unsteered',
  metrics: {
    agreement: { better: 'higher' },
    divergence: { better: 'lower', unit: 'nats' },
    accuracy: { better: 'higher' },
    'loss increase': { better: 'lower', unit: 'nats a token' },
  },
  version: 2,
  seeds: [0, 1, 2, 3, 4],
  async run(context) {
    const opened = once(() => open(context))
    for (const seed of context.seeds) {
      const found = once(async () => locate(await opened(), seed))
      await context.arm('unsteered', seed, async () => {
        const { areas, layer } = await found()
        const { metrics } = await answer(await opened(), itemsOf((await opened()).model, 1, seed))
        const byLayer = Object.fromEntries(areas.map((area, i) => [`area of layer ${i}`, area]))
        return { ...metrics, 'loss increase': 0, layer, ...byLayer }
      })
      await context.arm('LF-Steering', seed, async () => {
        const own = await opened()
        const { layer, items, before } = await found()
        const site = `blocks.${layer}.hook_resid_post`
        const prompts = items.flatMap(({ prompts }) => prompts)
        const width = own.model.spec.width
        const parts = [
          await activationsOf(own.model, site, windows(own.learned, { count: 1000, length: 64, seed })),
        ]
        for (const places of ofOneLength(prompts))
          parts.push(
            await activationsOf(
              own.model,
              site,
              places.map((i) => prompts[i]!),
            ),
          )
        const rows = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
        parts.reduce((at, part) => {
          rows.set(part, at)
          return at + part.length
        }, 0)
        const architecture = { kind: 'topk', k: 32 }
        const { sae, explained } = await trainSae(context, {
          site,
          width,
          rows,
          architecture,
          seed,
          ...training,
        })
        const code = (label: boolean) =>
          meanCode(
            own.model,
            sae,
            prompts.filter((_, i) => before.consistent[i] === label),
            { positions: 'last' },
          )
        const bias = contrastBias(await code(true), await code(false), features)
        const edits = (strength: number): Edits => lfEdits(sae, bias, { strength })
        return {
          ...(await measured(context, own, await found(), seed, edits)),
          'explained variance': explained,
        }
      })
      await context.arm('dense vector', seed, async () => {
        const own = await opened()
        const { layer, before, states } = await found()
        const counts = [false, true].map((label) => before.consistent.filter((is) => is === label).length)
        const difference = Float32Array.from({ length: own.model.spec.width }, (_, j) =>
          states.reduce(
            (sum, row, i) => sum + (before.consistent[i] ? row[j]! / counts[1]! : -row[j]! / counts[0]!),
            0,
          ),
        )
        const direction = tensor(difference)
        const edits = (strength: number): Edits => ({
          [`blocks.${layer}.hook_resid_post`]: alongDirection(direction, strength),
        })
        return measured(context, own, await found(), seed, edits)
      })
    }
  },
  judge(rows) {
    const [ours, dense] = ['LF-Steering', 'dense vector']
    const gain = rows.difference(ours, 'unsteered', 'agreement')
    const ahead = rows.difference(ours, dense, 'agreement')
    const cost = rows.mean(ours, 'loss increase')
    const lost = rows.mean('unsteered', 'accuracy') - rows.mean(ours, 'accuracy')
    const rises = gain.mean > 0.02 && gain.mean > gain.half && lost < 0.02
    const flat = cost <= 2 * allowed
    return {
      verdict: !rises || !flat ? 'not at this scale' : ahead.mean > ahead.half ? 'reproduced' : 'partly',
      reason: `Agreement ${rows.mean('unsteered', 'agreement').toFixed(3)} unsteered, ${rows.mean(ours, 'agreement').toFixed(3)} with LF-Steering (${signed(gain, 3)}), ${rows.mean(dense, 'agreement').toFixed(3)} with a dense vector (${signed(ahead, 3)} against it); accuracy ${rows.mean('unsteered', 'accuracy').toFixed(3)}, ${rows.mean(ours, 'accuracy').toFixed(3)} and ${rows.mean(dense, 'accuracy').toFixed(3)}; LF-Steering costs ${cost.toFixed(4)} nats a token on unrelated stories. Asked for: agreement up by more than 0.02, beyond the interval, with less than 0.02 of accuracy lost and at most ${2 * allowed} nats; 'partly' where it is not ahead of the dense vector beyond the interval.`,
    }
  },
})
