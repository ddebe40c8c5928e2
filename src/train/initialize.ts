/** Random parameters for a decoder, as GPT-2 was initialised. */
import { random, type Tensor, tensor } from '../array/index.ts'
import { type DecoderParams, type DecoderSpec, type Linear, type Norm, partOf } from '../model/spec.ts'

export interface InitializeOptions {
  readonly seed?: number
  /** Standard deviation of matrices; those that write to the residual are divided by √(2 layers). */
  readonly deviation?: number
  /** Biases in the linear parts (GPT-2 has them, Llama does not). */
  readonly bias?: boolean
  /** Whether the head shares the embedding. */
  readonly tied?: boolean
}

export function initialize(spec: DecoderSpec, options: InitializeOptions = {}): DecoderParams {
  const { seed = 0, deviation = 0.02, bias = spec.norm.kind === 'layer', tied = true } = options
  if (spec.stateSpace)
    throw new Error('initialize: state spaces are not supported yet; begin from a checkpoint (Model.open)')
  const [attention, ffn] = [partOf(spec, 'attention'), partOf(spec, 'ffn')]
  if (ffn.experts || attention.normalize || (spec.norm.place ?? 'before') !== 'before')
    throw new Error('initialize: experts, norms of queries and norms after a part are not supported yet')
  const gaussian = random.gaussian(seed)
  const { width, layout } = spec
  const { heads, keyValueHeads, headSize } = attention
  const matrix = (rows: number, columns: number, scale = deviation): Tensor =>
    tensor(
      Float32Array.from({ length: rows * columns }, () => scale * gaussian()),
      [rows, columns],
    )
  const full = (size: number, value: number): Tensor => tensor(new Float32Array(size).fill(value))
  const linear = (from: number, to: number, scale = deviation): Linear => ({
    weight: layout === 'out-in' ? matrix(to, from, scale) : matrix(from, to, scale),
    ...(bias && { bias: full(to, 0) }),
  })
  const norm = (): Norm => ({
    weight: full(width, 1),
    ...(spec.norm.kind === 'layer' && { bias: full(width, 0) }),
  })
  const toResidual = deviation / Math.sqrt(2 * spec.layers)
  return {
    embed: matrix(spec.vocab, width),
    ...(spec.position.kind === 'learned' && { positions: matrix(spec.context, width) }),
    blocks: Array.from({ length: spec.layers }, () => ({
      ln1: norm(),
      attn: {
        q: linear(width, heads * headSize),
        k: linear(width, keyValueHeads * headSize),
        v: linear(width, keyValueHeads * headSize),
        o: linear(heads * headSize, width, toResidual),
      },
      ln2: norm(),
      mlp: {
        ...(ffn.kind === 'gated' && { gate: linear(width, ffn.hidden) }),
        up: linear(width, ffn.hidden),
        down: linear(ffn.hidden, width, toResidual),
      },
    })),
    lnFinal: norm(),
    ...(!tied && { head: { weight: matrix(spec.vocab, width), ...(bias && { bias: full(spec.vocab, 0) }) } }),
  }
}
