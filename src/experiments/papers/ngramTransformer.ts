/** Transformers with written weights against the n-gram tables that they are (Svete and Cotterell 2024). */
import { random, tensor } from '../../array/index.ts'
import { trainKneserNey } from '../../ngram/index.ts'
import {
  type Attention,
  compileNgrams,
  historiesOf,
  type NgramTable,
  nextSymbols,
} from '../../ngram/ngramTransformer.ts'
import { openText } from '../../train/data/text.ts'
import { type ExperimentContext, experiment, type Rows } from '../experiment.ts'
import { storyFiles } from '../small.ts'

const symbols = 3
const length = 6
const orders = [2, 3, 4]
const temperatures = [1, 2, 4, 8, 16, 32]
interface Arm {
  readonly layout: 'heads' | 'layers'
  readonly places: 'unit' | 'linear'
  readonly attention: Attention
}
const soft = (inverseTemperature: number) => `softmax x ${inverseTemperature}`
export const exact: Readonly<Record<string, Arm>> = {
  'hard, n - 1 heads': { layout: 'heads', places: 'unit', attention: 'hard' },
  'hard, n - 2 layers': { layout: 'layers', places: 'unit', attention: 'hard' },
  'sparse, n - 1 heads': { layout: 'heads', places: 'linear', attention: 'sparse' },
  'sparse, n - 2 layers': { layout: 'layers', places: 'linear', attention: 'sparse' },
}
const arms: Readonly<Record<string, Arm>> = {
  ...exact,
  ...Object.fromEntries(
    temperatures.map((inverseTemperature) => [
      soft(inverseTemperature),
      { layout: 'heads', places: 'linear', attention: { inverseTemperature } } as const,
    ]),
  ),
}

/** A fifth of the probabilities are 0. */
function randomTable(order: number, seed: number): NgramTable {
  const gaussian = random.gaussian(random.fold(seed, order))
  const rows = new Map<string, number[]>()
  for (const history of historiesOf(order, symbols)) {
    const weights = Array.from({ length: symbols + 1 }, () => {
      const zero = gaussian() < -0.84
      return zero ? 0 : Math.exp(2 * gaussian())
    })
    if (!weights.some((weight) => weight > 0)) weights.fill(1)
    const sum = weights.reduce((a, b) => a + b, 0)
    rows.set(
      `${history}`,
      weights.map((weight) => weight / sum),
    )
  }
  return { order, symbols, probabilities: (history) => rows.get(`${history}`)! }
}

/** Words as vowels, consonants and y, w and apostrophes; smoothed as by Kneser-Ney. */
function estimatedTable(order: number, words: readonly string[]): NgramTable {
  const kind = (letter: string) => (/[aeiou]/.test(letter) ? 0 : /[yw']/.test(letter) ? 2 : 1)
  const rows = words.map((word) => [...Array.from(word, kind), symbols])
  const model = trainKneserNey(rows, { order, vocabulary: symbols + 1 })
  return {
    order,
    symbols,
    probabilities: (history) => model.distribution(history.filter((symbol) => symbol < symbols)),
  }
}

/** Over all strings and their beginnings: the largest difference of any next symbol's probability. */
async function difference(
  { engine }: ExperimentContext,
  table: NgramTable,
  { layout, places, attention }: Arm,
): Promise<number> {
  let rows: number[][] = [new Array(table.order - 1).fill(symbols)]
  for (let i = 0; i < length; i++)
    rows = rows.flatMap((row) => Array.from({ length: symbols }, (_, symbol) => [...row, symbol]))
  const width = rows[0]!.length
  const tokens = tensor(Int32Array.from(rows.flat()), [rows.length, width])
  const found = await engine.compute(nextSymbols(compileNgrams(table, { layout, places }), tokens, attention))
  const data = found.data as Float32Array
  const known = new Map<string, ArrayLike<number>>()
  let largest = 0
  for (const [i, row] of rows.entries())
    for (let at = table.order - 2; at < width; at++) {
      const history = row.slice(at + 2 - table.order, at + 1)
      const probabilities = known.get(`${history}`) ?? table.probabilities(history)
      known.set(`${history}`, probabilities)
      for (let symbol = 0; symbol <= symbols; symbol++) {
        const got = data[(i * width + at) * (symbols + 1) + symbol]!
        // Written so that what is not a number is a difference too.
        if (!(Math.abs(got - probabilities[symbol]!) <= largest))
          largest = Math.abs(got - probabilities[symbol]!)
      }
    }
  return largest
}

export function judge(rows: Rows) {
  const largest = (name: string) =>
    Math.max(...['random', 'estimated'].flatMap((kind) => rows.at(name, `${kind} tables`).values as number[]))
  const names = Object.keys(exact)
  const inside = names.filter((name) => largest(name) < 1e-6)
  const gaps = temperatures.map((temperature) => largest(soft(temperature)))
  const closing = gaps.every((gap, i) => i === 0 || gap <= gaps[i - 1]!)
  const gap = gaps[0]! > 1e-3
  return {
    verdict:
      inside.length === names.length && closing && gap
        ? 'reproduced'
        : inside.length > 0
          ? 'partly'
          : 'not at this scale',
    reason:
      `largest differences ${names.map((name) => `${largest(name).toExponential(1)} (${name})`).join(', ')}; below 1e-6 in ${inside.length} of ${names.length}. ` +
      `Softmax at ${temperatures.join(', ')} times: ${gaps.map((value) => value.toExponential(1)).join(', ')}, which ${closing ? 'never grows' : 'does not always fall'}`,
  } as const
}

export default experiment({
  id: 'ngram-transformer',
  paper: 111,
  title: 'Transformers that are n-gram models',
  claim:
    'A transformer with hard or sparse attention can be any n-gram model exactly, in one layer of n - 1 heads or in layers of one head.',
  setting: `Tables of 2- to 4-grams over ${symbols} symbols and an end, random (a fifth of the probabilities 0) and estimated from the words of stories (vowel, consonant, other; Kneser-Ney), a random table and another part of the words for each seed. The largest difference of a next symbol's probability over all ${symbols ** length} strings of ${length} symbols and their beginnings, in f32: exact means below 1e-6. Softmax is that of one layer with the score -|t - h - j| times an inverse temperature; log 0 is -10^4 in the weights, by which it multiplies what leaks. The paper counts n - 1 layers, the symbol itself among them. Seconds of one core.`,
  model: 'weights written down from the table; nothing is trained',
  data: 'random tables; words of TinyStories (text/tinystories_new)',
  baseline: soft(1),
  metrics: { 'random tables': { better: 'lower' }, 'estimated tables': { better: 'lower' } },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const stories = await openText(context.data(storyFiles[1]))
    for (const seed of context.seeds) {
      const words: string[] = []
      for (let i = seed * 200; i < (seed + 1) * 200; i++) {
        const { text } = (await stories.at(i % stories.length)) as { text: string }
        words.push(...(text.toLowerCase().match(/[a-z']+/g) ?? []))
      }
      for (const [name, arm] of Object.entries(arms))
        await context.arm(name, seed, async () => {
          const largest = async (tables: readonly NgramTable[]) => {
            let worst = 0
            for (const table of tables) worst = Math.max(worst, await difference(context, table, arm))
            return worst
          }
          return {
            'random tables': await largest(orders.map((order) => randomTable(order, seed))),
            'estimated tables': await largest(orders.map((order) => estimatedTable(order, words))),
          }
        })
    }
  },
  judge,
})
