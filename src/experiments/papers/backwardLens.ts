/** The backward lens (paper 86): do gradients read as their target, and does one forward pass edit as a step of SGD does? */
import { grad, leaves, random, type Tensor, tensor } from '../../array/index.ts'
import {
  BackwardLens,
  type Factors,
  forwardShift,
  gradientNorm,
  gradientOf,
  gradientStep,
  rankOne,
} from '../../interp/backwardLens.ts'
import { numericalRank } from '../../interp/rank.ts'
import type { AdapterTree, DecoderParams, Model } from '../../model/index.ts'
import { rotaryTables } from '../../model/index.ts'
import { lines } from '../../plot/index.ts'
import { nextTokenLoss } from '../../train/index.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import { lossOf, mean, openProbed, type Probed, signed, windows } from '../probe.ts'
import { defaultModel, describeModel, once } from '../small.ts'

const length = 24
const facts = 40
const tuned = 16
const tuningSeed = 1000
/** From a thousandth up, each 1.4 times the one before. */
const rates = Array.from({ length: 28 }, (_, i) => 1e-3 * 1.4 ** i)

/** Behind a prompt a token is to follow that the model does not expect. `other` ends alike and begins otherwise. */
interface Fact {
  readonly prompt: readonly number[]
  readonly other: readonly number[]
  readonly target: number
}
interface Setting extends Probed {
  readonly lens: BackwardLens
  /** Found on other facts: where the shift works at the least cost, and how strong it and steps of SGD have to be. */
  readonly layer: number
  readonly shiftRate: number
  readonly stepRate: number
}

async function factsOf({ model, heldOut }: Probed, count: number, seed: number): Promise<Fact[]> {
  const tokenizer = model.tokenizer!
  const counts = new Map<number, number>()
  for (const token of heldOut) counts.set(token, (counts.get(token) ?? 0) + 1)
  const words = [...counts].flatMap(([token, n]) =>
    n >= 5 && /^ [a-z]{4,}$/.test(tokenizer.decode([token])) ? [token] : [],
  )
  const uniform = random.generator(seed)
  const rows = windows(heldOut, { count: 2 * count, length, seed })
  const found: Fact[] = []
  for (let i = 0; i < count; i++) {
    const [prompt, before] = [rows[2 * i]!, rows[2 * i + 1]!]
    const { logits } = await model.run([prompt])
    const last = (logits!.data as Float32Array).slice(-model.spec.vocab)
    const likely = new Set([...last.keys()].sort((a, b) => last[b]! - last[a]!).slice(0, 10))
    const open = words.filter((token) => !likely.has(token))
    found.push({
      prompt,
      other: [...before.slice(0, length / 2), ...prompt.slice(length / 2)],
      target: open[Math.floor(uniform() * open.length)]!,
    })
  }
  return found
}

/** log p of the target behind a prompt, and whether it leads. */
async function answer(
  model: Model,
  prompt: readonly number[],
  target: number,
): Promise<{ log: number; leads: boolean }> {
  const { logits } = await model.run([prompt])
  const last = (logits!.data as Float32Array).slice(-model.spec.vocab)
  const top = last.reduce((a, b) => Math.max(a, b))
  const sum = last.reduce((a, b) => a + Math.exp(b - top), 0)
  return { log: last[target]! - top - Math.log(sum), leads: last[target] === top }
}

/** What is answered after an edit. */
async function edited(model: Model, fact: Fact, edit: Edit, i: number) {
  const adapter = await edit(fact, i)
  return answer(adapter ? model.adapted([adapter]) : model, fact.prompt, fact.target)
}

type Edit = (fact: Fact, i: number) => Promise<AdapterTree | undefined>

/** What an edit for each fact does, to the fact and to everything else. */
async function measure(
  { model, heldOut }: Probed,
  own: readonly Fact[],
  edit: Edit,
  seed: number,
): Promise<Metrics> {
  const rest = windows(heldOut, { count: 4, length: 128, seed: seed + 1 })
  const before = await lossOf(model, rest)
  const answers: { log: number; leads: boolean }[] = []
  const [elsewhere, kept, lost]: [number[], number[], number[]] = [[], [], []]
  const led = await Promise.all(own.map(async ({ prompt }) => topOf(await model.run([prompt]), model)))
  for (const [i, fact] of own.entries()) {
    const adapter = await edit(fact, i)
    const edited = adapter ? model.adapted([adapter]) : model
    answers.push(await answer(edited, fact.prompt, fact.target))
    elsewhere.push(Math.exp((await answer(edited, fact.other, fact.target)).log))
    const next = (i + 1) % own.length
    kept.push(Number(topOf(await edited.run([own[next]!.prompt]), model) === led[next]))
    lost.push((await lossOf(edited, rest)) - before)
  }
  return {
    'target probability': mean(answers.map(({ log }) => Math.exp(log))),
    efficacy: mean(answers.map(({ leads }) => Number(leads))),
    'in another context': mean(elsewhere),
    'kept elsewhere': mean(kept),
    'perplexity ratio': Math.exp(mean(lost)),
  }
}

const topOf = ({ logits }: Record<string, Tensor>, { spec }: Model): number => {
  const last = (logits!.data as Float32Array).slice(-spec.vocab)
  return last.indexOf(last.reduce((a, b) => Math.max(a, b)))
}

/** Layer and rates from facts that are not measured later: the weakest that make nearly all targets lead. */
async function choose(context: ExperimentContext): Promise<Setting> {
  const probed = await openProbed(context)
  const { model } = probed
  const lens = new BackwardLens(model)
  const own = await factsOf(probed, tuned, tuningSeed)
  /** The first rate at which 95 % of the targets lead, or the one at which most do; with what it costs. */
  const weakest = async (
    edit: (rate: number) => Edit,
  ): Promise<{ rate: number; cost: number; efficacy: number }> => {
    let best = { rate: rates[0]!, efficacy: 0 }
    for (const rate of rates) {
      context.signal?.throwIfAborted()
      const efficacy = mean(
        await Promise.all(
          own.map(async (fact, i) => Number((await edited(model, fact, edit(rate), i)).leads)),
        ),
      )
      if (efficacy > best.efficacy) best = { rate, efficacy }
      if (efficacy >= 0.95) break
    }
    const { 'perplexity ratio': cost } = await measure(probed, own, edit(best.rate), tuningSeed)
    return { ...best, cost: cost! }
  }
  let best: { layer: number; rate: number; cost: number; efficacy: number } | undefined
  for (let layer = 0; layer < model.spec.layers; layer++) {
    const found = await weakest(
      (rate) =>
        ({ prompt, target }) =>
          forwardShift(model, prompt, target, { layer, rate }),
    )
    const enough = found.efficacy >= 0.95
    if (!best || (enough && (best.efficacy < 0.95 || found.cost < best.cost))) best = { layer, ...found }
  }
  const step = await weakest(
    (rate) =>
      async ({ prompt, target }) =>
        gradientStep((await lens.read(prompt, target)).factors, rate),
  )
  context.note(
    `layer ${best!.layer}, shift at rate ${best!.rate.toPrecision(2)}; SGD at rate ${step.rate.toPrecision(2)}`,
  )
  return { ...probed, lens, layer: best!.layer, shiftRate: best!.rate, stepRate: step.rate }
}

/** Length of an array of any size. */
const euclidean = (x: Float32Array): number => Math.sqrt(x.reduce((sum, value) => sum + value ** 2, 0))

/** Length of a rank-one update. */
const lengthOf = (edit: AdapterTree): number =>
  Object.values(edit.params.linears!).reduce((product, part) => {
    const { a, b } = part as { a: Tensor; b: Tensor }
    return product * Math.hypot(...(a.data as Float32Array)) * Math.hypot(...(b.data as Float32Array))
  }, 1)

/** Steps of SGD on some matrices, as long as the shift. */
const stepAsLong =
  ({ model, lens, layer, shiftRate }: Setting, of: (one: Factors) => boolean): Edit =>
  async ({ prompt, target }) => {
    const factors = (await lens.read(prompt, target)).factors.filter(of)
    const whole = Math.hypot(...factors.map(gradientNorm))
    const wanted = lengthOf(await forwardShift(model, prompt, target, { layer, rate: shiftRate }))
    return gradientStep(factors, wanted / whole)
  }

/** The lemma on a row: how far factors are from the gradient of the whole model, and ranks by the number of positions. */
async function structure(
  { engine }: ExperimentContext,
  { model, lens }: Setting,
  own: readonly Fact[],
): Promise<Metrics> {
  const rotary = rotaryTables(model.spec, model.positions)
  using whole = engine.jit(
    (params: DecoderParams, tokens: Tensor) =>
      grad((p: DecoderParams) => nextTokenLoss(model.spec, p, tokens, rotary))(params),
    { name: 'gradient' },
  )
  let [error, ranks] = [0, 0]
  for (const { prompt } of own.slice(0, 2)) {
    const grads = new Map(leaves(await whole(model.params, tensor(Int32Array.from(prompt), [1, length]))))
    for (const factors of (await lens.read(prompt, [...prompt.slice(1), -1])).factors) {
      const { data, sizes } = grads.get(`blocks.${factors.layer}.mlp.${factors.matrix}.weight`)!
      const product = gradientOf(factors, model.spec.layout).data as Float32Array
      const size = euclidean(data as Float32Array)
      error = Math.max(error, euclidean(product.map((value, i) => value - Number(data[i]))) / size)
      ranks = Math.max(ranks, numericalRank(data as Float32Array, sizes[0]!, sizes[1]!, 1e-4) / length)
    }
  }
  return { 'gradient error': error, 'rank per position': ranks }
}

/** Where the target stands among all tokens, 0 for the first, by layer: in -δ at the last position, in noise, in the state. */
async function ranksOf(
  setting: Setting,
  own: readonly Fact[],
  of: 'delta' | 'noise' | 'input',
  seed: number,
): Promise<Metrics> {
  const { model, lens } = setting
  const { layers, vocab } = model.spec
  const gaussian = random.gaussian(seed)
  const sums = new Float64Array(layers)
  for (const { prompt, target } of own) {
    const pass = await lens.read(prompt, target)
    const factors = pass.factors.map((one) =>
      of === 'noise' && one.matrix === 'down'
        ? {
            ...one,
            deltas: tensor(Float32Array.from({ length: one.deltas.data.length }, gaussian), one.deltas.sizes),
          }
        : one,
    )
    const side = of === 'input' ? 'imprint' : 'shift'
    for (const row of await lens.project({ ...pass, factors }, target, 1))
      if (row.side === side && row.position === prompt.length - 1)
        sums[row.layer]! += row.rank / vocab / own.length
  }
  // In the last layer -δ is made of the target's row: it is shown and does not count.
  const counted = sums.slice(0, -1)
  return {
    'target rank': mean([...counted]),
    ...Object.fromEntries([...sums].map((rank, layer) => [`target rank, layer ${layer}`, rank])),
  }
}

const views = { VJP: 'delta', 'random vector': 'noise', 'feed-forward input': 'input' } as const

export default experiment({
  id: 'backward-lens',
  paper: 86,
  title: 'Backward lens: the target in the gradients, and an edit by one forward pass',
  claim:
    'Gradients of feed-forward matrices have at most the rank of the number of tokens; their backward factors, read in the vocabulary, show the target; and adding its embedding along the input of one matrix, without a backward pass, edits as well as fine-tuning.',
  setting: `${facts} prompts a seed of ${length} tokens of held-out stories, and for each a frequent word (one token of four letters or more) that is not among its ten likeliest continuations (the paper: CounterFact, GPT-2 XL). 'gradient error' and 'rank per position' (numerical, at 1e-4 of the largest column) compare the factors with the gradient of the whole model on two prompts a seed. 'target rank' is the share of the vocabulary that scores above the target at the last position, the mean over all layers but the last one, where -δ is the target's row less the expected one, through the last norm. Edits are of one prompt each; layer and rate of the shift are the ones that let 95 % of ${tuned} other targets lead at the least perplexity. 'same length' are steps of SGD whose update is as long as the shift, on the same matrix or on all feed-forward matrices; 'own rate' is SGD with a rate chosen as that of the shift, or the one with which most targets lead; 'random direction' writes along a random vector of the same length. 'in another context' is the target's probability where the first half of the prompt is another text, 'kept elsewhere' the share of other prompts whose likeliest token stays, 'perplexity ratio' that of 512 held-out tokens.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories, held out',
  baseline: 'nothing',
  metrics: {
    'target probability': { better: 'higher' },
    efficacy: { better: 'higher' },
    'in another context': { better: 'higher' },
    'kept elsewhere': { better: 'higher' },
    'perplexity ratio': { better: 'lower' },
    'target rank': { better: 'lower' },
    'gradient error': { better: 'lower' },
    'rank per position': { better: 'lower' },
  },
  version: 2,
  seeds: [0, 1, 2],
  async run(context) {
    const chosen = once(() => choose(context))
    for (const seed of context.seeds) {
      const own = once(async () => factsOf(await chosen(), facts, seed))
      const arm = (name: string, edit: (setting: Setting) => Edit) =>
        context.arm(name, seed, async () => {
          const setting = await chosen()
          return measure(setting, await own(), edit(setting), seed)
        })
      await context.arm('factors', seed, async () => structure(context, await chosen(), await own()))
      for (const [name, view] of Object.entries(views))
        await context.arm(name, seed, async () => ranksOf(await chosen(), await own(), view, seed))
      await arm('nothing', () => async () => undefined)
      await arm(
        'shift',
        ({ model, layer, shiftRate: rate }) =>
          ({ prompt, target }) =>
            forwardShift(model, prompt, target, { layer, rate }),
      )
      await arm('SGD, same matrix and length', (setting) =>
        stepAsLong(setting, ({ layer, matrix }) => layer === setting.layer && matrix === 'down'),
      )
      await arm('SGD, all matrices, same length', (setting) => stepAsLong(setting, () => true))
      await arm(
        'SGD, all matrices, own rate',
        ({ lens, stepRate }) =>
          async ({ prompt, target }) =>
            gradientStep((await lens.read(prompt, target)).factors, stepRate),
      )
      await arm('random direction', (setting) => async ({ prompt, target }, i) => {
        const edit = await forwardShift(setting.model, prompt, target, {
          layer: setting.layer,
          rate: setting.shiftRate,
        })
        const [part] = Object.values(edit.params.linears!) as { a: Tensor; b: Tensor }[]
        const gaussian = random.gaussian(random.fold(seed, i))
        const drawn = Float32Array.from({ length: setting.model.spec.width }, gaussian)
        const scale = Math.hypot(...(part!.b.data as Float32Array)) / Math.hypot(...drawn)
        return rankOne(
          setting.layer,
          part!.a.data as Float32Array,
          drawn.map((value) => scale * value),
        )
      })
    }
  },
  plot: (rows) =>
    lines(
      Object.keys(views).map((name) => ({
        name,
        points: layerRanks(rows, name).map((y, x) => ({ x, y })),
      })),
      {
        title: 'Backward lens: where the target stands in the vocabulary',
        x: 'layer',
        y: 'share of tokens above the target',
      },
    ),
  judge(rows) {
    const [error, rank] = [rows.mean('factors', 'gradient error'), rows.mean('factors', 'rank per position')]
    const structure = error < 1e-3 && rank <= 1
    const read = rows.mean('VJP', 'target rank')
    const against = rows.difference('VJP', 'feed-forward input', 'target rank')
    const shown = read < 0.05 && -against.mean > against.half
    const [efficacy, ratio] = [rows.mean('shift', 'efficacy'), rows.mean('shift', 'perplexity ratio')]
    const lot = rows.difference('shift', 'random direction', 'target probability')
    const same = rows.difference('shift', 'SGD, same matrix and length', 'target probability')
    const edits = efficacy >= 0.9 && ratio <= 1.05 && lot.mean > lot.half && same.mean > -0.1
    const held = [shown, edits].filter(Boolean).length
    const all = 'SGD, all matrices, own rate'
    return {
      verdict:
        structure && held === 2 ? 'reproduced' : structure && held === 1 ? 'partly' : 'not at this scale',
      reason: `Factors give the gradients to ${error.toExponential(0)}, and ranks are at most ${rank.toFixed(2)} of the number of tokens (asked for: 1e-3 and 1). In -δ the target stands behind ${(100 * read).toFixed(1)} % of the vocabulary, in the input of the feed-forward part behind ${(100 * rows.mean('feed-forward input', 'target rank')).toFixed(1)} %, in noise behind ${(100 * rows.mean('random vector', 'target rank')).toFixed(1)} % (asked for: below 5 %, and less than the input beyond the interval). The shift makes ${(100 * efficacy).toFixed(0)} % of the targets lead, at ${rows.mean('shift', 'target probability').toFixed(2)} of probability and ${ratio.toFixed(3)} times the perplexity; probability ${signed(lot)} against a random direction and ${signed(same)} against SGD on the same matrix with the same length (95 % intervals of ${rows.at('shift', 'efficacy').n} seeds; asked for: 90 %, at most 1.05 times, above the random direction beyond the interval, at most 0.1 below SGD). SGD on all matrices with a rate of its own: ${(100 * rows.mean(all, 'efficacy')).toFixed(0)} % at ${rows.mean(all, 'perplexity ratio').toFixed(3)} times.`,
    }
  },
})

/** By layer, for the plot. */
function layerRanks(rows: Rows, name: string): number[] {
  return rows.list.flatMap((row) =>
    row.name === name && row.metric.startsWith('target rank, layer') ? [row.mean] : [],
  )
}
