/** Sealed models: weights become constants of the programs, quantised if asked, and taps are fixed. */
import { bytesPerElement, leaves, type Tensor, tensor } from '../array/index.ts'
import { Model } from './model.ts'
import { asRows, quantizeRows, stackRows } from './quantize.ts'
import type { AttentionParams, DecoderParams, DenseParams, FfnParams, Linear, Matrix } from './spec.ts'
import type { TapOptions } from './taps.ts'

export type WeightFormat = 'f32' | 'int8' | 'int4'

export interface SealOptions extends TapOptions {
  /** `f32` weights stay in their file and are mapped; the others are rounded when sealing. */
  readonly weights?: WeightFormat
  /**
   * Most values that share a scale (int4, int8): 128 is fastest, 32 is most exact. A matrix whose rows it does
   * not divide takes the largest of 64, 32 and 16 that does.
   */
  readonly block?: 16 | 32 | 64 | 128
}

const bitsOf = { int8: 8, int4: 4 } as const

/**
 * A model whose weights are part of its programs. Reads and edits given here hold in every pass; others are
 * refused later. Matrices whose input axis does not divide into blocks stay f32; `weightBill` lists them.
 */
export function seal(model: Model, options: SealOptions = {}): Model {
  const { weights = 'f32', block = 128, read = [], edit = {} } = options
  if (model.sealed) throw new Error('this model is sealed already')
  const common = {
    engine: model.engine,
    tokenizer: model.tokenizer,
    path: model.path,
    context: model.context,
    sealed: true,
  }
  const taps: TapOptions = { read: [...read], edit: { ...model.taps.edit, ...edit } }
  if (weights === 'f32')
    // Mapped weights are used where they lie; re-laying them would copy them.
    return new Model({ ...common, spec: model.spec, params: model.params, taps, prepack: false })
  const spec = { ...model.spec, layout: 'out-in' as const }
  return new Model({ ...common, spec, params: quantizeParams(model, bitsOf[weights], block), taps })
}

function quantizeParams({ params, spec }: Model, bits: 4 | 8, block: number): DecoderParams {
  const { layout } = spec
  const round = (rows: Tensor): Matrix => {
    const [out, inner] = rows.sizes as [number, number]
    const own = [128, 64, 32, 16].find((size) => size <= block && inner % size === 0)
    return own ? quantizeRows(rows.data as Float32Array, [out, inner], { bits, block: own }) : rows
  }
  const rowsOf = ({ weight }: Linear, stored = layout): Tensor => {
    if ('packed' in weight) throw new Error('these weights are quantised already')
    return asRows(weight, stored)
  }
  const linear = (part: Linear, stored = layout): Linear => ({
    weight: round(rowsOf(part, stored)),
    bias: part.bias,
  })
  const stacked = (parts: readonly Linear[]): Linear => ({
    weight: round(stackRows(parts.map((part) => rowsOf(part)))),
    bias: joinBiases(parts),
  })
  const attention = (part: AttentionParams): AttentionParams => {
    const { o, qNorm, kNorm } = part
    return {
      qkv: 'qkv' in part ? linear(part.qkv) : stacked([part.q, part.k, part.v]),
      o: linear(o),
      qNorm,
      kNorm,
    }
  }
  const ffn = (part: FfnParams): FfnParams =>
    // The router is small and decides much: it stays exact.
    'router' in part
      ? { router: { ...part.router, weight: rowsOf(part.router) }, experts: part.experts.map(dense) }
      : dense(part)
  const dense = (part: DenseParams): DenseParams => {
    const down = linear(part.down)
    if ('gateUp' in part) return { gateUp: linear(part.gateUp), down }
    return 'gate' in part ? { gateUp: stacked([part.gate, part.up]), down } : { up: linear(part.up), down }
  }
  return {
    ...params,
    blocks: params.blocks.map((block) => ({ ...block, attn: attention(block.attn), mlp: ffn(block.mlp) })),
    // The embedding stays exact; a tied head is a rounded copy of it.
    head: linear(params.head ?? { weight: params.embed }, 'out-in'),
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
  /** Matrices that stay f32 in a rounded model, because blocks do not divide them. */
  readonly kept: readonly string[]
}

/** What a model's weights cost. */
export function weightBill({ params }: Model): WeightBill {
  const entries = leaves(params)
  const sizeOf = (tensor: Tensor): number =>
    bytesPerElement[tensor.dtype] * tensor.sizes.reduce((a, b) => a * b, 1)
  const total = (list: readonly [string, Tensor][]): number =>
    list.reduce((sum, [, leaf]) => sum + sizeOf(leaf), 0)
  const perRow = (path: string): boolean =>
    path === 'positions' || (path === 'embed' && params.head !== undefined)
  const rounded = entries.some(([path]) => path.endsWith('.packed'))
  return {
    bytes: total(entries),
    bytesPerToken: total(entries.filter(([path]) => !perRow(path))),
    kept: rounded
      ? entries.flatMap(([path]) => (path.endsWith('.weight') && !path.includes('ln') ? [path] : []))
      : [],
  }
}
