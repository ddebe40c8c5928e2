/**
 * Feed-forward layers as sums of value vectors (Geva, Caciularu, Wang and Goldberg 2022,
 * https://arxiv.org/abs/2203.14680).
 *
 *   FFN(x) = Σ_i m_i v_i        v_i [width]: column i of the last matrix; m_i: its coefficient, `mlp.hook_post`
 *
 * A sub-update m_i v_i adds m_i (head · v_i) to the scores of tokens, so a value vector is read as the tokens that it
 * promotes. The dominant sub-updates have the largest |m_i| ‖v_i‖. Turning value vectors on (m_i = 3 in the paper, before GPT-2's
 * activation) steers the model towards what they promote.
 *
 * Where the feed-forward part is gated, m_i may be negative, and -v_i is promoted: a value vector has two ends here, each
 * with a sign. The paper's code reads v_i through the whole last norm; here it is its linear part (`readDirection`), so that scores of
 * sub-updates add up. Concepts are chosen by the score of their words instead of by hand.
 */
import * as z from 'zod'
import { type Jitted, type Tensor, tensor } from '../array/index.ts'
import { method } from '../method/index.ts'
import type {
  DecoderParams,
  DecoderSpec,
  EditWithArguments,
  Model,
  OwnProgram,
  Pass,
  TapOptions,
} from '../model/index.ts'
import { plain } from '../model/parts/linear.ts'
import { partOf } from '../model/spec.ts'
import type { Tokenizer } from '../text/index.ts'
import { loaded, readOut } from './streams.ts'
import { readDirection } from './vocabulary.ts'

/** One end of a value vector. */
export interface ValueVector {
  readonly layer: number
  readonly index: number
  /** -1: what -v promotes. */
  readonly sign: 1 | -1
}

export interface FeedForwardReading {
  /** What each layer would predict, i32 [layers, batch, T]: the last layer's are the model's. */
  readonly predictions: Tensor
  /** The token that leads before the feed-forward part of each layer, and how many are above it after: [layers, batch, T]. */
  readonly before: Tensor
  readonly ranksAfter: Tensor
  /** The `count` value vectors with the largest |m_i| ‖v_i‖, downwards, and their m_i: [layers, batch, T, count]. */
  readonly dominant: Tensor
  readonly coefficients: Tensor
}

export class ValueVectors {
  readonly model: Model
  readonly #spec: DecoderSpec
  readonly #read: OwnProgram<[Tensor], FeedForwardReading>
  readonly #promoted = new Map<number, Jitted<[DecoderParams, Tensor], { values: Tensor; indices: Tensor }>>()

  /** `count`: how many dominant sub-updates `read` gives; the paper's 10 by default. */
  constructor(model: Model, count = 10) {
    this.model = model
    const { spec, params } = model
    this.#spec = spec
    if (model.adapters.length > 0) throw new Error('value vectors: merge the adapters first')
    check(spec, params)
    this.#read = model.compile('subUpdates', [['batch', 'time']], (pass, tokens: Tensor) =>
      readLayers(spec, pass, tokens, count),
    )
  }

  /** What the feed-forward layers do at every position of rows of tokens. */
  async read(rows: readonly (readonly number[])[]): Promise<FeedForwardReading> {
    return loaded(await this.#read(this.model.rows(rows)))
  }

  /** All value vectors of a layer, [hidden, width]. */
  async vectors(layer: number): Promise<Tensor> {
    return loaded(await this.model.engine.compute(valuesOf(this.#spec, this.model.params, layer).identity()))
  }

  /** The linear reading of the residual stream: what a unit of each of its numbers adds to each token, [width, vocab]. */
  async readout(): Promise<Tensor> {
    const { width } = this.#spec
    const unit = new Float32Array(width * width)
    for (let i = 0; i < width; i++) unit[i * width + i] = 1
    const unitVectors = tensor(unit, [width, width])
    return loaded(await this.model.engine.compute(readDirection(this.#spec, this.model.params, unitVectors)))
  }

  /** The tokens that a value vector promotes most, with their scores at coefficient 1. */
  async promoted(
    { layer, index, sign }: ValueVector,
    count = 10,
  ): Promise<{ token: number; score: number }[]> {
    const vectors = await this.vectors(layer)
    const [hidden, width] = vectors.sizes as [number, number]
    if (index < 0 || index >= hidden) throw new RangeError(`value vector ${index}: a layer has ${hidden}`)
    const row = (vectors.data as Float32Array).slice(index * width, (index + 1) * width).map((x) => sign * x)
    if (!this.#promoted.has(count))
      this.#promoted.set(
        count,
        this.model.engine.jit(
          (weights: DecoderParams, x: Tensor) => readDirection(this.#spec, weights, x).topK(count),
          { name: 'promoted' },
        ),
      )
    const { values, indices } = await loaded(
      await this.#promoted.get(count)!(this.model.params, tensor(row, [1, width])),
    )
    return Array.from({ length: count }, (_, i) => ({
      token: Number(indices.data[i]),
      score: Number(values.data[i]),
    }))
  }

  /**
   * How far each value vector of a layer promotes tokens: the mean of their scores, as standard deviations over the
   * vocabulary, [hidden]. The other end's are the negative ones.
   */
  async affinity(layer: number, tokens: readonly number[]): Promise<Float32Array> {
    const { engine, params } = this.model
    const all = readDirection(this.#spec, params, valuesOf(this.#spec, params, layer))
    const centred = all.sub(all.mean(-1, { keep: true }))
    const deviation = centred.mul(centred).mean(-1).sqrt()
    const named = centred.gather(tensor(Int32Array.from(tokens)), -1).mean(-1)
    return (await (await engine.compute(named.div(deviation))).load()) as Float32Array
  }

  /** The value vectors, of all layers or those given, that promote these tokens most, downwards. */
  async promoting(
    tokens: readonly number[],
    count: number,
    layers: readonly number[] = Array.from({ length: this.#spec.layers }, (_, layer) => layer),
  ): Promise<(ValueVector & { readonly score: number })[]> {
    if (tokens.length === 0) throw new Error('value vectors: a concept has at least one token')
    const signed = partOf(this.#spec, 'ffn').kind === 'gated'
    const found: (ValueVector & { score: number })[] = []
    for (const layer of layers)
      (await this.affinity(layer, tokens)).forEach((score, index) => {
        found.push({
          layer,
          index,
          sign: score < 0 && signed ? -1 : 1,
          score: signed ? Math.abs(score) : score,
        })
      })
    return found.sort((a, b) => b.score - a.score).slice(0, count)
  }

  dispose(): void {
    this.#read.dispose()
    for (const program of this.#promoted.values()) program.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** Throws for decoders whose feed-forward update is no sum of value vectors. */
function check(spec: DecoderSpec, params: DecoderParams): void {
  const { experts } = partOf(spec, 'ffn')
  const { place = 'before' } = spec.norm
  if (experts) throw new Error('value vectors: a mixture of experts is not supported')
  if (place !== 'before')
    throw new Error(
      'value vectors: a norm follows the feed-forward part, so its update is no sum of value vectors',
    )
  for (let layer = 0; layer < spec.layers; layer++) valuesOf(spec, params, layer)
}

/** [hidden, width] */
function valuesOf({ layout }: DecoderSpec, { blocks }: DecoderParams, layer: number): Tensor {
  const mlp = blocks[layer]?.mlp
  if (!mlp || !('down' in mlp))
    throw new Error(`value vectors: layer ${layer} has no single feed-forward part`)
  if ('packed' in mlp.down.weight)
    throw new Error(`value vectors: layer ${layer} is quantised; open the model unquantised`)
  return layout === 'out-in' ? plain(mlp.down.weight).transpose() : plain(mlp.down.weight)
}

function readLayers(
  spec: DecoderSpec,
  { params, forward }: Pass,
  tokens: Tensor,
  count: number,
): FeedForwardReading {
  const sites = ['mlp.hook_post', 'hook_mlp_out', 'hook_resid_post']
  const read = params.blocks.flatMap((_, layer) => sites.map((site) => `blocks.${layer}.${site}`))
  const { reads } = forward({ tokens }, { read })
  const layers = params.blocks.map((_, layer) => {
    const [post, update, after] = sites.map((site) => reads[`blocks.${layer}.${site}`]!) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const values = valuesOf(spec, params, layer)
    const lengths = values.mul(values).sum(-1).sqrt()
    const { indices } = post.abs().mul(lengths).topK(count)
    const leading = readOut(spec, params, after.sub(update)).argMax(-1).cast('i32')
    const scores = readOut(spec, params, after)
    const held = scores.gatherElements(leading.expandDims(-1), -1)
    return {
      predictions: scores.argMax(-1).cast('i32'),
      before: leading,
      ranksAfter: scores.greater(held).cast('i32').sum(-1),
      dominant: indices.cast('i32'),
      coefficients: post.gatherElements(indices, -1),
    }
  })
  const stacked = (key: keyof FeedForwardReading): Tensor => {
    const [first, ...rest] = layers.map((one) => one[key].expandDims(0))
    return first!.concat(rest, 0)
  }
  return {
    predictions: stacked('predictions'),
    before: stacked('before'),
    ranksAfter: stacked('ranksAfter'),
    dominant: stacked('dominant'),
    coefficients: stacked('coefficients'),
  }
}

interface Turned {
  readonly keep: Tensor
  readonly add: Tensor
}
/** Coefficients [..., hidden]; other vectors and coefficients run in the same program. */
const turn = (post: Tensor, { keep, add }: Turned): Tensor => post.mul(keep).add(add)

/**
 * An edit that turns value vectors on: m_i ← m_i + strength (sign · coefficient - m_i) at every position. At strength 0
 * nothing changes, at 1 the coefficient is the one given, whatever was read.
 */
export function turnOn(
  { ffn }: Pick<DecoderSpec, 'ffn'>,
  vectors: readonly ValueVector[],
  coefficient: number,
  strength = 1,
): NonNullable<TapOptions['edit']> {
  const hidden = partOf({ ffn } as DecoderSpec, 'ffn').hidden
  const edits = [...new Set(vectors.map(({ layer }) => layer))].map((layer) => {
    const [keep, add] = [new Float32Array(hidden).fill(1), new Float32Array(hidden)]
    for (const one of vectors)
      if (one.layer === layer) {
        if (one.index < 0 || one.index >= hidden)
          throw new RangeError(`value vector ${one.index}: a layer has ${hidden}`)
        keep[one.index] = 1 - strength
        add[one.index] = strength * one.sign * coefficient
      }
    const edit: EditWithArguments<Turned> = { apply: turn, args: { keep: tensor(keep), add: tensor(add) } }
    return [`blocks.${layer}.mlp.hook_post`, edit] as const
  })
  return Object.fromEntries(edits)
}

export const valueVectorsSchema = z.strictObject({
  words: z.array(z.string().min(1)).nonempty().describe('What is promoted: words that are one token each'),
  count: z.int().positive().default(10).describe('Value vectors that are turned on'),
  coefficient: z.number().default(3).describe('Of each of them'),
  strength: z.number().min(0).max(1).default(1).describe('0 leaves the model as it is'),
  from: z.int().nonnegative().default(0).describe('The first layer that is used'),
})

/** The tokens of words, each with a space before it; throws for a word that is not one token. */
export function conceptTokens(tokenizer: Tokenizer, words: readonly string[]): number[] {
  return words.map((word) => {
    const { ids } = tokenizer.encode(` ${word}`, { addSpecialTokens: false })
    if (ids.length !== 1)
      throw new Error(`value vectors: ' ${word}' is ${ids.length} tokens of this model, not one`)
    return ids[0]!
  })
}

export default method({
  id: 'value-vectors',
  title: 'Value vectors of a concept turned on',
  socket: 'edit',
  paper: 268,
  source: 'Geva et al. 2022, https://arxiv.org/abs/2203.14680',
  summary: 'The feed-forward value vectors that promote the given words most get a constant coefficient.',
  options: valueVectorsSchema,
  make:
    ({ words, count, coefficient, strength, from }) =>
    async (model: Model) => {
      if (!model.tokenizer) throw new Error(`value vectors: ${model.path} has no tokenizer`)
      using values = new ValueVectors(model)
      const layers = Array.from({ length: model.spec.layers }, (_, layer) => layer).slice(from)
      const chosen = await values.promoting(conceptTokens(model.tokenizer, words), count, layers)
      return turnOn(model.spec, chosen, coefficient, strength)
    },
})
