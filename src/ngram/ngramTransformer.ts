/**
 * Transformers whose weights are written down so that they are a given n-gram model (Svete and Cotterell 2024,
 * https://arxiv.org/abs/2404.14994): attention fetches the last n - 1 symbols, a gate for each history says which it is, and
 * the output matrix holds the logarithms of that history's probabilities.
 *
 *   heads:   one layer; head h attends from place t to t - h, and the values of the n - 1 heads stand side by side
 *   layers:  n - 2 layers of one head; layer l copies what the place before knows of l - 1 places ago (block l - 1) to block l
 *   gate:    relu(sum of the n - 1 entries of the history - (n - 2)): 1 for the history, 0 for all others
 *
 * Places: `unit`, (sqrt(1/t), sqrt(1 - 1/t)), whose product with itself alone is 1, as in the paper's code; in f32
 * that holds apart up to about a hundred places. `linear`, the score -|t - h - j|, exact far beyond. Attention: hard
 * (the largest score), sparse (sparsemax; exact where the second score is lower by 1, so with `linear`), or softmax at an
 * inverse temperature, which is not exact.
 *
 * Differs from the paper: -10^4 stands for log 0 (one-hot times minus infinity is not a number). The symbol at the place
 * itself counts as one of the n - 1, so that `layers` needs one layer less.
 */
import * as z from 'zod'
import { iota, oneHot, relu, softmax, type Tensor, tensor } from '../array/index.ts'
import { method } from '../method/index.ts'

/** p(next | the last n - 1 symbols); symbols are 0 to `symbols` - 1, and both begin and end are `symbols`. */
export interface NgramTable {
  readonly order: number
  readonly symbols: number
  /** One probability for each symbol, then for the end. `history`: n - 1 symbols, oldest first. */
  probabilities(history: readonly number[]): ArrayLike<number>
}

export const ngramTransformerSchema = z.strictObject({
  layout: z.enum(['heads', 'layers']).default('heads').describe('n - 1 heads, or n - 2 layers of one'),
  places: z.enum(['unit', 'linear']).default('unit').describe('How places are told apart'),
  longest: z.int().positive().default(64).describe('Places, those of the beginning included'),
})
export type NgramTransformerOptions = z.output<typeof ngramTransformerSchema>

/** Weights of a score [place, place] over what is read, and of what is fetched. */
interface Head {
  /** [2, D] */
  readonly query: Tensor
  readonly key: Tensor
  /** [blocks, D] */
  readonly value: Tensor
}

export interface NgramTransformer {
  readonly order: number
  readonly symbols: number
  readonly options: NgramTransformerOptions
  /** [symbols + 1, D]: one-hot in the first block. */
  readonly embed: Tensor
  /** [places, D] */
  readonly positions: Tensor
  readonly heads: readonly Head[]
  /** [histories, blocks] and [histories]. */
  readonly gate: Tensor
  readonly bias: Tensor
  /** [symbols + 1, histories] */
  readonly output: Tensor
}

export type Attention = 'hard' | 'sparse' | { readonly inverseTemperature: number }
const logZero = -1e4

/** All histories: sequences of n - 1 symbols that begin with any number of beginnings. */
export function historiesOf(order: number, symbols: number): number[][] {
  let histories: number[][] = [[]]
  for (let at = 1; at < order; at++)
    histories = histories.flatMap((history) => {
      const inside = history.some((symbol) => symbol < symbols)
      return Array.from({ length: symbols + (inside ? 0 : 1) }, (_, symbol) => [...history, symbol])
    })
  return histories
}

export function compileNgrams(
  table: NgramTable,
  options: z.input<typeof ngramTransformerSchema> = {},
): NgramTransformer {
  const { layout, places, longest } = ngramTransformerSchema.parse(options)
  const { order, symbols } = table
  if (order < 2) throw new RangeError(`compileNgrams: order ${order} has no history`)
  const width = symbols + 1
  const fetched = order - 1
  // Block 0 is the symbol; `layers` has blocks for those before; then two numbers for each place that is compared.
  const blocks = layout === 'heads' ? 1 : fetched
  const shifts = layout === 'heads' ? fetched : 2
  const d = blocks * width + 2 * shifts
  const positions = Array.from({ length: longest }, (_, at) => {
    const pairs = Array.from({ length: shifts }, (_, shift) => placeOf(places, at + 1 + shift, shift > 0))
    return [...new Array<number>(blocks * width).fill(0), ...pairs.flat()]
  })
  const place = (shift: number) => matrix(2, d, [0, 1], (row) => blocks * width + 2 * shift + row)
  // The first pair is asked for. With `linear` the products of (1, t) and (-t', 1) are differences of places.
  const head = (shift: number, from: number, to: number, rows: number): Head => ({
    query: place(0),
    key: places === 'linear' && shift === 0 ? linearKey(d, blocks * width) : place(shift),
    value: matrix(
      rows,
      d,
      Array.from({ length: width }, (_, i) => to * width + i),
      (row) => from * width + (row % width),
    ),
  })
  const heads =
    layout === 'heads'
      ? Array.from({ length: fetched }, (_, back) => head(back, 0, 0, width))
      : Array.from({ length: fetched - 1 }, (_, layer) => head(1, layer, layer + 1, d))
  const histories = historiesOf(order, symbols)
  const gate = new Float32Array(histories.length * fetched * width)
  const output = new Float32Array(width * histories.length)
  for (const [row, history] of histories.entries()) {
    // The last symbol is that of head or block 0.
    for (let back = 0; back < fetched; back++)
      gate[(row * fetched + back) * width + history[fetched - 1 - back]!] = 1
    const probabilities = table.probabilities(history)
    for (let symbol = 0; symbol < width; symbol++) {
      const probability = probabilities[symbol]!
      output[symbol * histories.length + row] = probability > 0 ? Math.log(probability) : logZero
    }
  }
  return {
    order,
    symbols,
    options: { layout, places, longest },
    embed: matrix(width, d, [...new Array(width).keys()], (row) => row),
    positions: tensor(Float32Array.from(positions.flat()), [longest, d]),
    heads,
    gate: tensor(gate, [histories.length, fetched * width]),
    bias: tensor(new Float32Array(histories.length).fill(1 - fetched)),
    output: tensor(output, [width, histories.length]),
  }
}

/** p(next) behind every place of rows that begin with n - 1 beginnings: [batch, time] to [batch, time, symbols + 1]. */
export function nextSymbols(model: NgramTransformer, tokens: Tensor, attention: Attention): Tensor {
  const { heads, options, order, symbols } = model
  const time = tokens.shape[1] as number
  if (time > options.longest)
    throw new RangeError(`nextSymbols: ${time} places, and the transformer has ${options.longest}`)
  let x = model.embed.gather(tokens).add(model.positions.slice(0, 0, time)) // [batch, time, D]
  const fetch = ({ query, key, value }: Head) => {
    const apply = (weights: Tensor) => x.matmul(weights.transpose())
    const products = apply(query).matmul(apply(key).transpose([0, 2, 1])) // [batch, time, time]
    const scores = options.places === 'linear' ? products.abs().neg() : products
    return attend(scores, attention).matmul(apply(value))
  }
  let seen: Tensor
  if (options.layout === 'heads') {
    const [first, ...others] = heads.map(fetch)
    seen = first!.concat(others, 2)
  } else {
    for (const layer of heads) x = x.add(fetch(layer))
    seen = x.slice(2, 0, (order - 1) * (symbols + 1))
  }
  const history = relu(seen.matmul(model.gate.transpose()).add(model.bias))
  return softmax(history.matmul(model.output.transpose()))
}

/** Weights [.., time, time] of scores; nobody attends to what comes later. */
function attend(scores: Tensor, attention: Attention): Tensor {
  const time = scores.shape.at(-1)!
  const seen = iota(time)
    .reshape([1, time])
    .lessEqual(iota(time).reshape([time, 1]))
  const causal = seen.where(scores, -1e9)
  if (attention === 'hard') return oneHot(causal.argMax(-1), time)
  if (attention === 'sparse') return sparsemax(causal)
  return softmax(causal.mul(attention.inverseTemperature))
}

/**
 * The point of the simplex that is nearest to x along the last axis (Martins and Astudillo 2016). x is in the support
 * if 1 + k x > the sum of the k entries that are at least x; the sum of the support less 1, by its size, is taken off.
 */
export function sparsemax(x: Tensor): Tensor {
  const others = x.expandDims(-2) // [.., 1, n]
  const atLeast = others.greaterEqual(x.expandDims(-1)) // [.., n, n]
  const count = atLeast.cast('f32').sum(-1)
  const sum = atLeast.where(others, 0).sum(-1)
  const inside = x.mul(count).add(1).greater(sum)
  const size = inside.cast('f32').sum(-1, { keep: true })
  const threshold = inside.where(x, 0).sum(-1, { keep: true }).sub(1).div(size)
  return relu(x.sub(threshold))
}

function placeOf(places: 'unit' | 'linear', t: number, isKey: boolean): [number, number] {
  if (places === 'unit') return [Math.sqrt(1 / t), Math.sqrt(1 - 1 / t)]
  return isKey ? [-t, 1] : [1, t]
}

/** (1, t) to (-t, 1). */
function linearKey(d: number, at: number): Tensor {
  const data = new Float32Array(2 * d)
  data[at + 1] = -1
  data[d + at] = 1
  return tensor(data, [2, d])
}

/** Zeros, and a 1 in each of `rows` at its column. */
function matrix(
  height: number,
  width: number,
  rows: readonly number[],
  column: (row: number) => number,
): Tensor {
  const data = new Float32Array(height * width)
  for (const row of rows) data[row * width + column(row)] = 1
  return tensor(data, [height, width])
}

export default method({
  id: 'ngram-transformer',
  title: 'Transformers that are n-gram models',
  socket: 'language-model',
  paper: 111,
  source: 'Svete and Cotterell 2024, https://arxiv.org/abs/2404.14994',
  summary:
    'Weights of a transformer with hard or sparse attention that gives the probabilities of an n-gram table.',
  options: ngramTransformerSchema,
  make: (options) => (table: NgramTable) => compileNgrams(table, options),
})
