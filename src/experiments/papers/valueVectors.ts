/** Value vectors (paper 268): do sub-updates promote the prediction, and do ten of a concept steer what is written? */
import { random } from '../../array/index.ts'
import { complete } from '../../decode/index.ts'
import { saturationLayers } from '../../interp/saturation.ts'
import { conceptTokens, turnOn, type ValueVector, ValueVectors } from '../../interp/valueVectors.ts'
import type { TapOptions } from '../../model/index.ts'
import { openText } from '../../train/data/text.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { lossOf, mean, openProbed, type Probed, signed, windows } from '../probe.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const length = 24
const prompts = 150
const samples = 3
const written = 20
const count = 10
const budget = 1.2
const coefficients = Array.from({ length: 16 }, (_, i) => 0.25 * 1.4 ** i)
/** What is turned on: the opposite of what is counted. Words that the model has no token of are left out. */
const joy =
  'happy smile smiled laughed laugh fun love loved play played friends friend good nice proud kind hug'.split(
    ' ',
  )

interface Opened extends Probed {
  readonly values: ValueVectors
  readonly negative: ReadonlySet<string>
  readonly concept: readonly number[]
}

async function open(context: ExperimentContext): Promise<Opened> {
  const probed = await openProbed(context)
  const { model } = probed
  const lexicon = await openText(context.data('data/vader-lexicon/vader_lexicon.txt.gz'), {
    documents: 'line',
  })
  const negative = new Set<string>()
  for (let i = 0; i < lexicon.length; i++) {
    const [word, valence] = ((await lexicon.at(i)) as { text: string }).text.split('\t')
    if (/^[a-z]+$/.test(word!) && Number(valence) <= -1) negative.add(word!)
  }
  const concept = joy.flatMap((word) => {
    const { ids } = model.tokenizer!.encode(` ${word}`, { addSpecialTokens: false })
    return ids.length === 1 ? conceptTokens(model.tokenizer!, [word]) : []
  })
  return { ...probed, values: new ValueVectors(model, count), negative, concept }
}

/** Words of a text with a valence of -1 or less. */
const negatives = (text: string, negative: ReadonlySet<string>): number =>
  (text.toLowerCase().match(/[a-z]+/g) ?? []).filter((word) => negative.has(word)).length

/** Windows of held-out stories with a negative word. */
function gloomy({ model, heldOut, negative }: Opened, seed: number): number[][] {
  const all = windows(heldOut, { count: Math.floor(heldOut.length / length), length, seed })
  const found = all.filter((row) => negatives(model.tokenizer!.decode(row), negative) > 0)
  if (found.length < prompts)
    throw new Error(`value-vectors: ${found.length} prompts of the ${prompts} asked for`)
  return found.slice(0, prompts)
}

/** The strongest coefficient that keeps perplexity on texts which are not measured later within the budget. */
async function strongest({ model, heldOut }: Opened, chosen: readonly ValueVector[]): Promise<number> {
  const rows = windows(heldOut, { count: 12, length: 128, seed: 1000, to: 0.5 })
  const before = await lossOf(model, rows)
  let best = 0
  for (const coefficient of coefficients) {
    const loss = await lossOf(model, rows, turnOn(model.spec, chosen, coefficient))
    if (Math.exp(loss - before) > budget) break
    best = coefficient
  }
  return best
}

/** What is written behind gloomy prompts under an edit, and what the edit costs. */
async function steered(opened: Opened, seed: number, edit: TapOptions['edit'] = {}): Promise<Metrics> {
  const { model, heldOut, negative } = opened
  const texts = await complete(
    model,
    gloomy(opened, seed),
    { maxTokens: written, samples, temperature: 1, topP: 0.9, seed, stopTokens: [] },
    { edit },
  )
  const counts = texts.map(({ text }) => negatives(text, negative))
  const words = texts.reduce((sum, { text }) => sum + (text.match(/[a-zA-Z]+/g) ?? []).length, 0)
  const rows = windows(heldOut, { count: 24, length: 128, seed, from: 0.5 })
  return {
    'negative texts': mean(counts.map((n) => Number(n > 0))),
    'negative words per 100': (100 * counts.reduce((a, b) => a + b, 0)) / words,
    'perplexity ratio': Math.exp((await lossOf(model, rows, edit)) - (await lossOf(model, rows))),
  }
}

const vectorsByLot = ({ model }: Opened, seed: number): ValueVector[] => {
  const uniform = random.generator(seed)
  const { layers, ffn } = model.spec
  return Array.from({ length: count }, () => ({
    layer: Math.floor(uniform() * layers),
    index: Math.floor(uniform() * ffn!.hidden),
    sign: uniform() < 0.5 && ffn!.kind === 'gated' ? (-1 as const) : (1 as const),
  }))
}

type Event = { layer: number; at: number; token: number }
/** How far the dominant sub-updates of one layer raise a token above the average one, in logits. */
async function promotion(opened: Opened, seed: number): Promise<Record<string, Metrics>> {
  const { model, values, heldOut } = opened
  const { layers, vocab, width } = model.spec
  const rows = windows(heldOut, { count: 48, length: 32, seed })
  const { predictions, before, ranksAfter, dominant, coefficients: m } = await values.read(rows)
  const positions = rows.length * rows[0]!.length
  const readout = (await values.readout()).data as Float32Array
  const average = Float64Array.from({ length: width }, (_, k) => {
    let sum = 0
    for (let w = 0; w < vocab; w++) sum += readout[k * vocab + w]!
    return sum / vocab
  })
  const vectors = await Promise.all(
    Array.from({ length: layers }, async (_, layer) => (await values.vectors(layer)).data as Float32Array),
  )
  const scores = ({ layer, at, token }: Event): number[] =>
    Array.from({ length: count }, (_, i) => {
      const place = (layer * positions + at) * count + i
      const from = Number(dominant.data[place]) * width
      let sum = 0
      for (let k = 0; k < width; k++)
        sum += vectors[layer]![from + k]! * (readout[k * vocab + token]! - average[k]!)
      return sum * Number(m.data[place])
    })
  const saturates = saturationLayers(predictions.data as Int32Array, layers)
  const uniform = random.generator(seed)
  const events: Record<string, Event[]> = { saturation: [], elimination: [], 'any token': [] }
  for (let at = 0; at < positions; at++) {
    const layer = saturates[at]!
    events.saturation!.push({ layer, at, token: Number(predictions.data[layer * positions + at]) })
    events['any token']!.push({ layer, at, token: Math.floor(uniform() * vocab) })
    let [most, where] = [0, -1]
    for (let l = 0; l < layers; l++) {
      const fall = Number(ranksAfter.data[l * positions + at])
      if (fall > most) [most, where] = [fall, l]
    }
    if (where >= 0)
      events.elimination!.push({ layer: where, at, token: Number(before.data[where * positions + at]) })
  }
  return Object.fromEntries(
    Object.entries(events).map(([name, list]) => {
      const all = list.map(scores)
      return [
        name,
        {
          'promotion in logits': mean(all.map(mean)),
          'highest of ten': mean(all.map((ten) => Math.max(...ten))),
          'lowest of ten': mean(all.map((ten) => Math.min(...ten))),
        },
      ]
    }),
  )
}

export default experiment({
  id: 'value-vectors',
  paper: 268,
  title: 'Value vectors: promotion, and ten of them turned on',
  claim:
    'Feed-forward layers build predictions by promoting tokens rather than by eliminating others, and turning on ten value vectors of a benign concept nearly halves what is unwanted, at little cost.',
  setting: `Unwanted are words of negative valence (-1 or less in VADER), in place of toxicity, which a model of children's stories does not write: ${prompts} held-out windows a seed of ${length} tokens with such a word are continued ${samples} times by ${written} tokens (temperature 1, top-p 0.9). 'negative texts' is the share of continuations with one. The concept is joy: the ${count} value vectors that promote its words most (${joy.join(', ')}: those that are one token), chosen by their scores and not by hand, with either sign. 'by lot' turns on ${count} others. The coefficient of each arm is the largest of a grid that keeps perplexity on other held-out text within ${budget} times (the paper: 3 before GPT-2's activation). Promotion: of the ten dominant sub-updates, how far each raises a token above the average one, in logits, where the prediction saturates ('saturation'), for the leading token that falls furthest at any layer ('elimination'), and for any token of the vocabulary at the layer of saturation.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, held out; the VADER lexicon',
  baseline: 'nothing',
  metrics: {
    'negative texts': { better: 'lower' },
    'negative words per 100': { better: 'lower' },
    'perplexity ratio': { better: 'lower' },
    'promotion in logits': { better: 'higher' },
  },
  version: 1,
  seeds: [0, 1, 2, 3, 4],
  async run(context) {
    const opened = once(() => open(context))
    const chosen = once(async () => {
      const all = await opened()
      const vectors = await all.values.promoting(all.concept, count)
      const coefficient = await strongest(all, vectors)
      context.note(
        `${vectors.map(({ layer, index, sign }) => `${sign < 0 ? '-' : ''}${layer}.${index}`).join(' ')} at ${coefficient.toPrecision(3)}`,
      )
      return turnOn(all.model.spec, vectors, coefficient)
    })
    for (const seed of context.seeds) {
      await context.arm('nothing', seed, async () => steered(await opened(), seed))
      await context.arm('joy', seed, async () => steered(await opened(), seed, await chosen()))
      await context.arm('by lot', seed, async () => {
        const all = await opened()
        const vectors = vectorsByLot(all, seed)
        return steered(all, seed, turnOn(all.model.spec, vectors, await strongest(all, vectors)))
      })
      const promoted = once(async () => promotion(await opened(), seed))
      for (const name of ['saturation', 'elimination', 'any token'])
        await context.arm(name, seed, async () => (await promoted())[name]!)
    }
  },
  judge(rows) {
    const plain = rows.mean('nothing', 'negative texts')
    const joyful = rows.difference('joy', 'nothing', 'negative texts')
    const lot = rows.difference('joy', 'by lot', 'negative texts')
    const fall = -joyful.mean / plain
    const steers = fall >= 0.25 && -joyful.mean > joyful.half && -lot.mean > lot.half
    const raised = rows.mean('saturation', 'promotion in logits')
    const any = rows.difference('saturation', 'any token', 'promotion in logits')
    const lowered = rows.mean('elimination', 'promotion in logits')
    const promotes = raised > 0 && any.mean > any.half && raised > -lowered
    const points = ({ mean, half }: typeof joyful): string =>
      signed({ mean: 100 * mean, half: 100 * half }, 1)
    return {
      verdict: steers && promotes ? 'reproduced' : steers || promotes ? 'partly' : 'not at this scale',
      reason: `Ten vectors of joy take ${(100 * fall).toFixed(0)} % off the ${(100 * plain).toFixed(0)} % of texts with a negative word: ${points(joyful)} points against nothing, ${points(lot)} against ten by lot (95 % intervals of ${rows.at('joy', 'negative texts').n} seeds), at ${rows.mean('joy', 'perplexity ratio').toFixed(2)} and ${rows.mean('by lot', 'perplexity ratio').toFixed(2)} times the perplexity. Asked for: 25 %, and both beyond the interval. A dominant sub-update raises the saturating prediction by ${raised.toFixed(3)} logits, ${signed(any, 3)} against any token; the eliminated one by ${lowered.toFixed(3)}. Asked for: above 0, above any token beyond the interval, and more than eliminated tokens are lowered.`,
    }
  },
})
