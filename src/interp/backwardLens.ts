/**
 * Backward lens: gradients of feed-forward matrices, read in the vocabulary (Katz, Belinkov, Geva and Wolf 2024,
 * https://arxiv.org/abs/2402.12865).
 *
 *   dL/dW = Σ_t δ_t x_tᵀ        x_t [in] enters W at position t, δ_t [out] is dL/d(what comes out there)
 *
 * So its rank is at most the number of positions. A step of gradient descent adds -δ_t x_tᵀ. In the first matrices
 * (gate, up) x_t lies in the residual stream: the step imprints what was read. In the last one (down) δ_t does: the step
 * shifts what is written, and -δ_t read as tokens says towards what. Both are factors of width numbers, read by the linear
 * part of the last norm and the head; the paper's code applies the whole norm, which for an RMS norm gives the same order of tokens.
 *
 * Forward-pass shifting (their section 7) replaces -δ at the last position by the target's row of the head:
 *
 *   W_down ← W_down + rate e(target) x_Tᵀ
 *
 * for one layer, without a backward pass. Both that and a step of SGD are adapters of rank 1 and T here: at strength 0 the
 * model is as it was, `model.adapted([edit])` applies one, and `merged()` writes it into the weights.
 */
import * as z from 'zod'
import { backpropagate, crossEntropy, type Jitted, scalar, type Tensor, tensor } from '../array/index.ts'
import { method } from '../method/index.ts'
import { forward } from '../model/decoder.ts'
import type { AdapterTree, DecoderParams, Model } from '../model/index.ts'
import { lookUp } from '../model/parts/linear.ts'
import { rotaryTables } from '../model/parts/position.ts'
import { type DecoderSpec, type DenseParams, type Linear, partOf } from '../model/spec.ts'
import { Taps } from '../model/taps.ts'
import { loaded } from './streams.ts'
import { rankOf, readDirection } from './vocabulary.ts'

/** A gradient as its factors. `in` and `out` are those of the matrix, T positions. */
export interface Factors {
  readonly layer: number
  /** `gate`, `up`, both joined (`gateUp`), or `down`. */
  readonly matrix: 'gate' | 'up' | 'gateUp' | 'down'
  /** [T, in] */
  readonly inputs: Tensor
  /** [T, out] */
  readonly deltas: Tensor
}

export interface BackwardPass {
  /** Mean over the targets, in nats. */
  readonly loss: number
  readonly factors: readonly Factors[]
}

/** A vector of the residual stream that a step of gradient descent brings in, as tokens. */
export interface Projection {
  readonly layer: number
  /** What was read and is imprinted in the first matrices, or -δ, towards which the last one is shifted. */
  readonly side: 'imprint' | 'shift'
  readonly position: number
  /** Euclidean length of x_t or δ_t. */
  readonly norm: number
  /** The highest scores, downwards. */
  readonly tokens: readonly { readonly token: number; readonly score: number }[]
  /** How many tokens score higher than the target: 0 where it leads. */
  readonly rank: number
}

type Raw = { loss: Tensor; factors: { inputs: Tensor; deltas: Tensor }[] }
type Read = { norms: Tensor; tokens: Tensor; scores: Tensor; ranks: Tensor }

export class BackwardLens {
  readonly model: Model
  readonly #places: readonly { layer: number; matrix: Factors['matrix'] }[]
  readonly #pass: Jitted<[DecoderParams, Tensor, Tensor], Raw>
  readonly #readers = new Map<number, Jitted<[DecoderParams, Tensor, Tensor], Read>>()

  /** Throws for decoders whose blocks have no feed-forward matrices of their own, or quantised ones. */
  constructor(model: Model) {
    this.model = model
    const { spec, params } = model
    if (model.adapters.length > 0)
      throw new Error('backward lens: merge the adapters first: they have gradients of their own')
    this.#places = params.blocks.flatMap((_, layer) =>
      Object.keys(denseOf(params, layer)).map((name) => ({ layer, matrix: name as Factors['matrix'] })),
    )
    const rotary = rotaryTables(spec, model.positions)
    this.#pass = model.engine.jit(
      (weights: DecoderParams, tokens: Tensor, labels: Tensor) =>
        backward(spec, weights, rotary, tokens, labels, this.#places),
      { name: 'backwardLens', axes: [undefined, [null, 'time'], ['time']] },
    )
  }

  /**
   * One forward and one backward pass over a row of tokens. `target` is the token that should follow the last one, or
   * one for each position, negative where nothing is asked.
   */
  async read(tokens: readonly number[], target: number | readonly number[]): Promise<BackwardPass> {
    const { vocab } = this.model.spec
    const labels =
      typeof target === 'number' ? tokens.map((_, i) => (i + 1 < tokens.length ? -1 : target)) : target
    if (labels.length !== tokens.length)
      throw new Error(`backward lens: ${labels.length} targets for ${tokens.length} tokens`)
    if (
      !labels.some((label) => label >= 0) ||
      labels.some((label) => !Number.isInteger(label) || label >= vocab)
    )
      throw new RangeError(`backward lens: targets are tokens below ${vocab}, and at least one is asked for`)
    const { loss, factors } = await loaded(
      await this.#pass(this.model.params, this.model.rows([tokens]), tensor(Int32Array.from(labels))),
    )
    return { loss: loss.item(), factors: factors.map((pair, i) => ({ ...this.#places[i]!, ...pair })) }
  }

  /** What a step of gradient descent brings in at each layer and position, as `count` tokens each. */
  async project({ factors }: BackwardPass, target: number, count = 10): Promise<Projection[]> {
    const { model } = this
    if (!this.#readers.has(count))
      this.#readers.set(
        count,
        model.engine.jit(
          (weights: DecoderParams, x: Tensor, token: Tensor) => {
            const all = readDirection(model.spec, weights, x)
            const { values, indices } = all.topK(count)
            const norms = x.mul(x).sum(-1).sqrt()
            return { norms, tokens: indices, scores: values, ranks: rankOf(all, token) }
          },
          { name: 'readFactors', axes: [undefined, ['time', null], []] },
        ),
      )
    const found: Projection[] = []
    for (const { layer, matrix, inputs, deltas } of factors) {
      // The first matrices read the same; one of them says it.
      if (matrix === 'up' && factors.some((one) => one.layer === layer && one.matrix === 'gate')) continue
      const side = matrix === 'down' ? 'shift' : 'imprint'
      const x = side === 'shift' ? negative(deltas) : inputs
      const read = await loaded(await this.#readers.get(count)!(model.params, x, tensor([target], [], 'i32')))
      for (let position = 0; position < x.sizes[0]!; position++)
        found.push({
          ...{ layer, side, position, norm: Number(read.norms.data[position]) },
          tokens: Array.from({ length: count }, (_, i) => ({
            token: Number(read.tokens.data[position * count + i]),
            score: Number(read.scores.data[position * count + i]),
          })),
          rank: Number(read.ranks.data[position]),
        })
    }
    return found
  }

  dispose(): void {
    this.#pass.dispose()
    for (const reader of this.#readers.values()) reader.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** The feed-forward matrices of a layer. */
function denseOf(params: DecoderParams, layer: number): DenseParams {
  const { mlp } = params.blocks[layer]!
  if (!mlp) throw new Error(`backward lens: layer ${layer} has no feed-forward part`)
  if ('router' in mlp)
    throw new Error(`backward lens: layer ${layer} is a mixture of experts, which is not supported`)
  for (const [name, { weight }] of Object.entries(mlp) as [string, Linear][])
    if ('packed' in weight)
      throw new Error(`backward lens: 'blocks.${layer}.mlp.${name}' is quantised; open the model unquantised`)
  return mlp
}

/** Where the feed-forward part of a layer reads from. */
function inputSite({ norm: { place = 'before' }, parallel }: DecoderSpec, layer: number): string {
  const block = `blocks.${layer}`
  if (place === 'after') return parallel ? `${block}.hook_resid_pre` : `${block}.hook_resid_mid`
  return place === 'sum' || parallel === 'one norm'
    ? `${block}.ln1.hook_normalized`
    : `${block}.ln2.hook_normalized`
}

/**
 * δ_t is the gradient of a bias that every position has for itself, which is 0: so it is found for any linear part,
 * whatever stands around it.
 */
function backward(
  spec: DecoderSpec,
  params: DecoderParams,
  rotary: ReturnType<typeof rotaryTables>,
  tokens: Tensor,
  labels: Tensor,
  places: readonly { readonly layer: number; readonly matrix: Factors['matrix'] }[],
): Raw {
  const time = tokens.shape[1]!
  const biases: Tensor[] = []
  const blocks = params.blocks.map((block, layer) => {
    const parts = Object.entries(denseOf(params, layer)) as [string, Linear][]
    const mlp = Object.fromEntries(
      parts.map(([name, part]) => {
        const own = scalar(0)
          .broadcastTo([time, outOf(spec, part)])
          .identity()
        biases.push(own)
        return [name, { ...part, bias: part.bias ? own.add(part.bias) : own }]
      }),
    ) as unknown as DenseParams
    return { ...block, mlp }
  })
  const sites = places.map(({ layer, matrix }) =>
    matrix === 'down' ? `blocks.${layer}.mlp.hook_post` : inputSite(spec, layer),
  )
  const taps = new Taps(spec, { read: [...new Set(sites)] })
  const { logits } = forward(spec, { ...params, blocks }, { tokens }, rotary, taps)
  const asked = labels.greaterEqual(0).cast('f32')
  const losses = crossEntropy(logits.reshape([time, spec.vocab]), labels.maximum(0))
  const loss = losses.mul(asked).sum().div(asked.sum())
  const deltas = backpropagate([loss], [scalar(1)], biases)
  const reads = taps.finish()
  return {
    loss,
    factors: sites.map((site, i) => {
      const x = reads[site]!
      return { inputs: x.reshape([time, x.shape.at(-1)!]), deltas: deltas[i]! }
    }),
  }
}

/** Outputs of a linear part. */
const outOf = ({ layout }: DecoderSpec, { weight }: Linear): number =>
  (weight as Tensor).shape[layout === 'out-in' ? 0 : 1] as number

const map = (x: Tensor, f: (value: number, i: number) => number): Tensor =>
  tensor(Float32Array.from(x.data as Float32Array, f), x.sizes)
const negative = (x: Tensor): Tensor => map(x, (value) => -value)

/** Σ_t δ_t x_tᵀ, summed in float64: the gradient of the matrix as it is stored, [out, in] or [in, out]. */
export function gradientOf({ inputs, deltas }: Factors, layout: DecoderSpec['layout']): Tensor {
  const [rows, columns] = layout === 'out-in' ? [deltas, inputs] : [inputs, deltas]
  const [time, m] = rows.sizes as [number, number]
  const n = columns.sizes[1]!
  const sum = new Float64Array(m * n)
  for (let t = 0; t < time; t++)
    for (let i = 0; i < m; i++) {
      const row = Number(rows.data[t * m + i])
      if (row === 0) continue
      for (let j = 0; j < n; j++) sum[i * n + j]! += row * Number(columns.data[t * n + j])
    }
  return tensor(Float32Array.from(sum), [m, n])
}

/** Euclidean length of the gradient, from its factors: √ Σ_st (δ_s·δ_t)(x_s·x_t). */
export function gradientNorm({ inputs, deltas }: Factors): number {
  const [time, dot] = [
    inputs.sizes[0]!,
    (x: Tensor, s: number, t: number): number => {
      const width = x.sizes[1]!
      let sum = 0
      for (let i = 0; i < width; i++) sum += Number(x.data[s * width + i]) * Number(x.data[t * width + i])
      return sum
    },
  ]
  let sum = 0
  for (let s = 0; s < time; s++) for (let t = 0; t < time; t++) sum += dot(inputs, s, t) * dot(deltas, s, t)
  return Math.sqrt(Math.max(0, sum))
}

const adapter = (linears: NonNullable<AdapterTree['params']['linears']>): AdapterTree => ({
  params: { linears },
  scales: tensor([1], []),
  strength: tensor([1], []),
})

/** W ← W - rate dL/dW for these matrices: a step of SGD, as an adapter of rank T. */
export const gradientStep = (factors: readonly Factors[], rate: number): AdapterTree =>
  adapter(
    Object.fromEntries(
      factors.map(({ layer, matrix, inputs, deltas }) => [
        `blocks.${layer}.mlp.${matrix}`,
        { a: inputs, b: transposed(map(deltas, (value) => -rate * value)) },
      ]),
    ),
  )

/** W ← W + b aᵀ for the last matrix of one layer: a [hidden], b [width]. */
export const rankOne = (layer: number, a: Float32Array, b: Float32Array): AdapterTree =>
  adapter({ [`blocks.${layer}.mlp.down`]: { a: tensor(a, [1, a.length]), b: tensor(b, [b.length, 1]) } })

function transposed(x: Tensor): Tensor {
  const [rows, columns] = x.sizes as [number, number]
  const data = new Float32Array(rows * columns)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) data[j * rows + i] = Number(x.data[i * columns + j])
  return tensor(data, [columns, rows])
}

export const backwardLensSchema = z.strictObject({
  layer: z
    .int()
    .optional()
    .describe('Whose last matrix is shifted; negative ones count from the end, and about 3/4 up by default'),
  rate: z
    .number()
    .nonnegative()
    .default(0.24)
    .describe("Of the target's row of the head; the paper's for GPT-2 XL"),
})
export type ShiftOptions = z.input<typeof backwardLensSchema>

/** The layer of an edit: 35 of 48 in the paper. */
export function layerOf({ layers }: DecoderSpec, layer = Math.floor((35 / 48) * layers)): number {
  const at = layer < 0 ? layers + layer : layer
  if (at < 0 || at >= layers) throw new RangeError(`layer ${layer}: the model has layers 0 to ${layers - 1}`)
  return at
}

/** The row of the head that a token is scored with, as a vector of the residual stream, [width]. */
export async function headRow({ engine, spec, params }: Model, token: number): Promise<Float32Array> {
  if (!Number.isInteger(token) || token < 0 || token >= spec.vocab)
    throw new RangeError(`token ${token}: the vocabulary has ${spec.vocab}`)
  const { head, projectOut, embed } = params
  const row = lookUp(head?.weight ?? embed, tensor([token], [1], 'i32'), spec.embedWidth ?? spec.width)
  const out = projectOut ? row.matmul(projectOut.weight as Tensor) : row
  return (await (await engine.compute(out)).load()) as Float32Array
}

/** Forward-pass shifting: after it, `target` is likelier behind `tokens`. One forward pass. */
export async function forwardShift(
  model: Model,
  tokens: readonly number[],
  target: number,
  options: ShiftOptions = {},
): Promise<AdapterTree> {
  const { rate, layer: asked } = backwardLensSchema.parse(options)
  const layer = layerOf(model.spec, asked)
  denseOf(model.params, layer)
  const site = `blocks.${layer}.mlp.hook_post`
  const { [site]: post } = await model.run([tokens], { read: [site] })
  const { hidden } = partOf(model.spec, 'ffn')
  const x = ((await post!.load()) as Float32Array).slice(-hidden)
  const row = await headRow(model, target)
  return rankOne(
    layer,
    x,
    row.map((value) => rate * value),
  )
}

export default method({
  id: 'backward-lens',
  title: 'Forward-pass shifting, from the backward lens',
  socket: 'adapter',
  paper: 86,
  source: 'Katz et al. 2024, https://arxiv.org/abs/2402.12865',
  summary: 'One forward pass makes a rank-one update after which a token is likelier behind a prompt.',
  options: backwardLensSchema,
  make: (options) => (model: Model, tokens: readonly number[], target: number) =>
    forwardShift(model, tokens, target, options),
})
