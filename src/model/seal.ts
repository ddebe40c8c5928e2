/** Sealed models: weights become constants of the programs, quantised if asked, and taps are fixed. */
import { bytesPerElement, leaves, type Tensor, tensor } from '../array/index.ts'
import { joinEdits } from './edits.ts'
import { Model } from './model.ts'
import { asRows, quantizeRows, stackRows } from './quantize.ts'
import type {
  AttentionParams,
  DecoderParams,
  DecoderSpec,
  DenseParams,
  FfnParams,
  Linear,
  Matrix,
  StateSpaceParams,
} from './spec.ts'
import { stackStored, storedMatrix } from './stored.ts'
import type { TapOptions } from './taps.ts'

export type WeightFormat = 'f32' | 'int8' | 'int4' | 'stored'

export interface SealOptions extends TapOptions {
  /**
   * `f32` weights stay in their file and are mapped; `int8` and `int4` are rounded when sealing; `stored` ones
   * are the Q4_0 and Q8_0 matrices of a GGUF file as they are, and what it has in other types in f32.
   */
  readonly weights?: WeightFormat
  /**
   * Most values that share a scale (int4, int8): 128 is fastest, 32 is most exact. A matrix whose rows it does
   * not divide takes the largest of 64, 32 and 16 that does.
   */
  readonly block?: 16 | 32 | 64 | 128
}

const bitsOf = { int8: 8, int4: 4 } as const

/**
 * A model whose weights are part of its programs. Reads and edits given here hold in every pass; other edits are
 * refused later, since each would be another copy of the weights, but `edited` exchanges their arguments. Matrices whose input axis does not divide into blocks stay f32; `weightBill` lists them. Adapters
 * stay beside the weights, in f32: `await model.merged()` first where they are to cost nothing.
 */
export function seal(model: Model, options: SealOptions = {}): Model {
  const { weights = 'f32', block = 128, read = [], edit = {} } = options
  if (model.sealed) throw new Error('this model is sealed already')
  if (model.adapters.some(({ params }) => params.prompt))
    throw new Error('a soft prompt must be attached with `attach` before the model is sealed')
  if (weights === 'stored' && options.block !== undefined)
    throw new Error('stored weights have the blocks of their file: leave out the block size')
  const common = {
    engine: model.engine,
    tokenizer: model.tokenizer,
    ends: model.ends,
    path: model.path,
    moduleNames: model.moduleNames,
    adapters: model.adapters,
    context: model.positions,
    sealed: true,
  }
  const taps: TapOptions = { read: [...read], edit: joinEdits(model.taps.edit, edit) }
  if (weights === 'f32')
    // Mapped weights are used where they lie; re-laying them would copy them.
    return new Model({ ...common, spec: model.spec, params: model.params, taps, prepack: false })
  if (model.adapters.some(({ params }) => params.saved))
    throw new Error('an adapter that replaces whole parameters must be merged before they are quantised')
  const spec = { ...model.spec, layout: 'out-in' as const }
  const params = weights === 'stored' ? storedParams(model) : quantizeParams(model, bitsOf[weights], block)
  return new Model({ ...common, spec, params, taps })
}

function quantizeParams(model: Model, bits: 4 | 8, block: number): DecoderParams {
  const round = (rows: Tensor): Matrix => {
    const [out, inner] = rows.sizes as [number, number]
    const own = [128, 64, 32, 16].find((size) => size <= block && inner % size === 0)
    return own ? quantizeRows(rows.data as Float32Array, [out, inner], { bits, block: own }) : rows
  }
  const params = convertMatrices(model, { matrix: round, stack: (parts) => round(stackRows(parts)) })
  // The embedding stays exact; a tied head is a rounded copy of it.
  return params.head ? params : { ...params, head: { weight: round(rowsOf(params.embed, 'out-in')) } }
}

function storedParams(model: Model): DecoderParams {
  const take = (rows: Tensor): Matrix => storedMatrix(rows) ?? rows
  const converted = convertMatrices(model, { matrix: take, stack: stackStored })
  const params = { ...converted, embed: take(rowsOf(converted.embed, 'out-in')) }
  if (!leaves(params).some(([path]) => path.endsWith('.packed')))
    throw new Error(
      `${model.path} has no matrices in Q4_0 or Q8_0, which alone can run as they are stored: take the weights f32, int8 or int4`,
    )
  return params
}

/** A matrix as rows [out, in]. */
function rowsOf(matrix: Matrix, layout: DecoderSpec['layout']): Tensor {
  if ('packed' in matrix) throw new Error('these weights are quantised already')
  return asRows(matrix, layout)
}

/** How matrices [out, in] are held instead. */
interface Conversion {
  matrix(rows: Tensor): Matrix
  /** Several of one input as one; undefined if they have to stay apart. */
  stack(parts: readonly Tensor[]): Matrix | undefined
}

/** Converts the matrices of the blocks and a head of its own; the embedding stays as it is. */
function convertMatrices({ params, spec, adapters }: Model, { matrix, stack }: Conversion): DecoderParams {
  const adapted = new Set(adapters.flatMap((adapter) => Object.keys(adapter.params.linears ?? {})))
  const linear = ({ weight, bias }: Linear): Linear => ({ weight: matrix(rowsOf(weight, spec.layout)), bias })
  /** Parts with adapters of their own stay apart. */
  const stacked = (parts: readonly Linear[], places: readonly string[]): Linear | undefined => {
    if (places.some((place) => adapted.has(place))) return undefined
    const weight = stack(parts.map((part) => rowsOf(part.weight, spec.layout)))
    return weight && { weight, bias: joinBiases(parts) }
  }
  const attention = (part: AttentionParams, place: string): AttentionParams => {
    const rest = { o: linear(part.o), qNorm: part.qNorm, kNorm: part.kNorm }
    if ('qkv' in part) return { qkv: linear(part.qkv), ...rest }
    const qkv = stacked([part.q, part.k, part.v], [`${place}.q`, `${place}.k`, `${place}.v`])
    return qkv ? { qkv, ...rest } : { q: linear(part.q), k: linear(part.k), v: linear(part.v), ...rest }
  }
  // The two small matrices decide what a state keeps and for how long: they stay exact.
  const stateSpace = (part: StateSpaceParams): StateSpaceParams => ({
    ...part,
    input: linear(part.input),
    select: { ...part.select, weight: rowsOf(part.select.weight, spec.layout) },
    step: { ...part.step, weight: rowsOf(part.step.weight, spec.layout) },
    output: linear(part.output),
  })
  const ffn = (part: FfnParams, place: string): FfnParams =>
    // The router is small and decides much: it stays exact.
    'router' in part
      ? {
          router: { ...part.router, weight: rowsOf(part.router.weight, spec.layout) },
          experts: part.experts.map((expert, i) => dense(expert, `${place}.experts.${i}`)),
        }
      : dense(part, place)
  const dense = (part: DenseParams, place: string): DenseParams => {
    const down = linear(part.down)
    if ('gateUp' in part) return { gateUp: linear(part.gateUp), down }
    if (!('gate' in part)) return { up: linear(part.up), down }
    const gateUp = stacked([part.gate, part.up], [`${place}.gate`, `${place}.up`])
    return gateUp ? { gateUp, down } : { gate: linear(part.gate), up: linear(part.up), down }
  }
  return {
    ...params,
    blocks: params.blocks.map((block, i) => ({
      ...block,
      attn: block.attn && attention(block.attn, `blocks.${i}.attn`),
      ssm: block.ssm && stateSpace(block.ssm),
      mlp: block.mlp && ffn(block.mlp, `blocks.${i}.mlp`),
    })),
    // A head is a row for each token, whatever the layout of the blocks.
    head: params.head && { ...params.head, weight: matrix(rowsOf(params.head.weight, 'out-in')) },
  }
}

function joinBiases(parts: readonly Linear[]): Tensor | undefined {
  const biases = parts.flatMap(({ bias }) => (bias ? [bias] : []))
  if (biases.length === 0) return undefined
  if (biases.length !== parts.length)
    throw new Error('some of the joined projections have a bias, others not')
  return tensor(Float32Array.from(biases.flatMap((bias) => [...(bias.data as Float32Array)])))
}

export interface WeightBill {
  /** Bytes of all weights. */
  readonly bytes: number
  /** Bytes that a step of one token reads: of an embedding only a row, unless it is the head too. */
  readonly bytesPerToken: number
  /** Matrices that stay f32 in a quantised model: blocks do not divide them, or the file has another type. */
  readonly kept: readonly string[]
}

/** What a model's weights cost, and its adapters. */
export function weightBill({
  params,
  adapters = [],
}: {
  readonly params: { readonly head?: unknown }
  readonly adapters?: readonly unknown[]
}): WeightBill {
  const entries = [...leaves(params), ...leaves(adapters, 'adapters')]
  const sizeOf = (tensor: Tensor): number =>
    bytesPerElement[tensor.dtype] * tensor.sizes.reduce((a, b) => a * b, 1)
  const total = (list: readonly [string, Tensor][]): number =>
    list.reduce((sum, [, leaf]) => sum + sizeOf(leaf), 0)
  const perRow = (path: string): boolean =>
    path === 'positions' || (/^embed(\.|$)/.test(path) && params.head !== undefined)
  const rounded = entries.some(([path]) => path.endsWith('.packed'))
  return {
    bytes: total(entries),
    bytesPerToken: total(entries.filter(([path]) => !perRow(path))),
    kept: rounded
      ? entries.flatMap(([path, { rank }]) =>
          rank === 2 && path.endsWith('.weight') && !path.includes('ln') ? [path] : [],
        )
      : [],
  }
}
