/** Linear shortcuts (paper 16): does a matrix to the last layer read earlier ones better than the identity, and exit earlier? */
import {
  agreement,
  blocksAt,
  type Lens,
  LensReader,
  logitLens,
  type Pair,
  r2,
  type StreamMoments,
  shortcut,
  shortcutLens,
  streamMoments,
  toLast,
} from '../../interp/index.ts'
import { Model } from '../../model/index.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import { defaultModel, describeModel, once, stories, storyFiles } from '../small.ts'

const learnedTokens = 40_000
const heldOutTokens = 8_000
const length = 128
const retained = 0.95
/** Values of k of precision@k. */
const top = [1, 5, 10]

interface Parts {
  readonly model: Model
  readonly learned: Int32Array | Uint16Array
  readonly heldOut: Int32Array | Uint16Array
}

/** Another part of the text for each seed, to fit on and to measure on. */
const partOf = <T extends Int32Array | Uint16Array>(tokens: T, seed: number, count: number): T => {
  const start = (seed * count) % Math.max(1, tokens.length - count)
  return tokens.subarray(start, start + count) as T
}

async function open(context: ExperimentContext): Promise<Parts> {
  const model = Model.open(defaultModel(), context.engine)
  const { learned, heldOut } = await stories(context, model.tokenizer!, [storyFiles[0]])
  return { model, learned, heldOut }
}

async function measure(
  model: Model,
  lens: Lens,
  tokens: Int32Array | Uint16Array,
  r2Of: (pair: Pair) => number,
) {
  const { layers } = model.spec
  const count = Math.floor(tokens.length / length)
  const rows = Array.from({ length: count }, (_, i) =>
    Array.from(tokens.subarray(i * length, (i + 1) * length)),
  )
  using reader = new LensReader(model, lens, { top: Math.max(...top) })
  const reading = await reader.read(rows)
  const agreed = agreement(reading, top).slice(0, layers)
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
  const metrics: Record<string, number> = {
    'layers saved': 1 - blocksAt(reading, retained) / layers,
    ...Object.fromEntries(top.map((k) => [`precision@${k}`, mean(agreed.map((one) => one.precision[k]!))])),
    surprisal: mean(agreed.map((one) => one.surprisal)),
  }
  for (const [blocks, { precision, surprisal }] of agreed.entries()) {
    for (const k of top) metrics[`precision@${k} after ${blocks}`] = precision[k]!
    metrics[`surprisal after ${blocks}`] = surprisal
    metrics[`r2 after ${blocks}`] = r2Of([blocks, layers])
  }
  return metrics satisfies Metrics
}

export function judge(rows: Rows) {
  const show = ({ mean, half }: { mean: number; half: number }, digits: number): string =>
    `${mean > 0 ? '+' : ''}${mean.toFixed(digits)} ± ${half.toFixed(digits)}`
  const layers = rows.list.filter(
    ({ name, metric }) => name === 'mat' && /^surprisal after/.test(metric),
  ).length
  const compared = Array.from({ length: layers }, (_, blocks) => {
    const precision = rows.difference('mat', 'id', `precision@1 after ${blocks}`)
    const surprisal = rows.difference('mat', 'id', `surprisal after ${blocks}`)
    return precision.mean - precision.half > 0 && surprisal.mean + surprisal.half < 0
  })
  const better = compared.filter(Boolean).length
  const saved = rows.difference('mat', 'id', 'layers saved')
  const saves = saved.mean - saved.half > 0
  return {
    verdict:
      better === layers && saves
        ? 'reproduced'
        : saves || better >= layers / 2
          ? 'partly'
          : 'not at this scale',
    reason:
      `mat minus id: precision@1 ${show(rows.difference('mat', 'id', 'precision@1'), 3)} and surprisal ${show(rows.difference('mat', 'id', 'surprisal'), 3)} nats, averaged over the layers; both better beyond the interval after ${better} of ${layers} numbers of blocks (asked for: all); ` +
      `at ${100 * retained} % agreement early exit saves ${(100 * rows.mean('mat', 'layers saved')).toFixed(1)} % of the layers with mat and ${(100 * rows.mean('id', 'layers saved')).toFixed(1)} % with id, ${show({ mean: 100 * saved.mean, half: 100 * saved.half }, 1)} points (above 0: ${saves ? 'yes' : 'no'}). ` +
      `'Partly' is one of the two, or half of the layers.`,
  } as const
}

export default experiment({
  id: 'linear-shortcut',
  paper: 16,
  title: 'Linear shortcuts between layers',
  claim:
    'One matrix by least squares from an early layer to the last reads the prediction better than the last layer’s head does, at every layer; with it early exit saves 7.9 % more of the layers of GPT-2 while 95 % of the predictions stay.',
  setting: `mat is fitted on every position of ${learnedTokens} tokens in windows of ${length}, and measured on ${heldOutTokens} of stories held out, other ones for each seed; id is the logit lens. precision@k: the lens's first token is among the model's first k; surprisal: −log of what the model gives it; r2: the mean over coordinates. Early exit where the lens's two likeliest tokens are further apart than 0.9 λ + 0.1 exp(−4 t / ${length}), not before block 1; λ is the one with which ${100 * retained} % of the exits say what the model says, found on the tokens that are measured, for both arms alike. Averages are over 0 to all but the last block. The paper has one random position of each of 9,000 and 3,000 sentences of Wikipedia, and GPT-2 of 12 to 48 layers. About two minutes of one core for the starter.`,
  model: describeModel(defaultModel()),
  models: [defaultModel()],
  data: 'TinyStories (data/tinystories-val-part)',
  baseline: 'id',
  metrics: {
    'layers saved': { better: 'higher' },
    'precision@1': { better: 'higher' },
    surprisal: { better: 'lower', unit: 'nats' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const parts = once(() => open(context))
    for (const seed of context.seeds) {
      const pieces = once(async () => {
        const { model, learned, heldOut } = await parts()
        return {
          model,
          learned: partOf(learned, seed, learnedTokens),
          heldOut: partOf(heldOut, seed, heldOutTokens),
        }
      })
      const momentsOf = (which: 'learned' | 'heldOut') =>
        once(async (): Promise<StreamMoments> => {
          const { model, ...text } = await pieces()
          return streamMoments(model, text[which], toLast(model.spec.layers), {
            length,
            signal: context.signal,
          })
        })
      const [fitted, held] = [momentsOf('learned'), momentsOf('heldOut')]
      await context.arm('id', seed, async () => {
        const { model, heldOut } = await pieces()
        const moments = await held()
        return measure(model, logitLens, heldOut, (pair) => r2(moments, pair))
      })
      await context.arm('mat', seed, async () => {
        const { model, heldOut } = await pieces()
        const [own, other] = [await fitted(), await held()]
        const lens = shortcutLens(own, model.spec.layers)
        return measure(model, lens, heldOut, (pair) => r2(other, pair, shortcut(own, pair)))
      })
    }
  },
  judge,
})
