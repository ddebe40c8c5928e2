/** Random parameters for a decoder, as GPT-2 was initialised; state spaces as Mamba was. */
import { random, type Tensor, tensor } from '../array/index.ts'
import {
  type AttentionParams,
  type DecoderParams,
  type DecoderSpec,
  type DenseParams,
  type FfnSpec,
  type Linear,
  mixerOf,
  type Norm,
  partOf,
  type StateSpaceParams,
} from '../model/spec.ts'

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
  const { ffn } = spec
  if (ffn?.experts || spec.attention?.normalize || (spec.norm.place ?? 'before') !== 'before')
    throw new Error('initialize: experts, norms of queries and norms after a part are not supported yet')
  const gaussian = random.gaussian(seed)
  const { width, layout } = spec
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
  const attention = (): AttentionParams => {
    const { heads, keyValueHeads, headSize } = partOf(spec, 'attention')
    return {
      q: linear(width, heads * headSize),
      k: linear(width, keyValueHeads * headSize),
      v: linear(width, keyValueHeads * headSize),
      o: linear(heads * headSize, width, toResidual),
    }
  }
  const uniform = random.generator(random.fold(seed, 1))
  const between = (shape: readonly number[], bound: number): Tensor => {
    const size = shape.reduce((a, b) => a * b, 1)
    return tensor(
      Float32Array.from({ length: size }, () => bound * (2 * uniform() - 1)),
      shape,
    )
  }
  const stateSpace = (): StateSpaceParams => {
    const { inner, state, kernel, rank } = partOf(spec, 'stateSpace')
    const step = layout === 'out-in' ? [inner, rank] : [rank, inner]
    return {
      input: linear(width, 2 * inner),
      conv: { weight: between([inner, 1, kernel], 1 / Math.sqrt(kernel)), bias: full(inner, 0) },
      select: { weight: linear(inner, rank + 2 * state).weight },
      step: {
        weight: between(step, 1 / Math.sqrt(rank)),
        // softplus of it is a step from 0.001 to 0.1, evenly in its logarithm.
        bias: tensor(
          Float32Array.from({ length: inner }, () => {
            const size = Math.exp(Math.log(0.001) + uniform() * Math.log(100))
            return size + Math.log(-Math.expm1(-size))
          }),
        ),
      },
      logDecay: tensor(
        Float32Array.from({ length: inner * state }, (_, i) => Math.log(1 + (i % state))),
        [inner, state],
      ),
      skip: full(inner, 1),
      output: linear(inner, width, toResidual),
    }
  }
  const feedForward = ({ kind, hidden }: FfnSpec): DenseParams => ({
    ...(kind === 'gated' && { gate: linear(width, hidden) }),
    up: linear(width, hidden),
    down: linear(hidden, width, toResidual),
  })
  return {
    embed: matrix(spec.vocab, width),
    ...(spec.position.kind === 'learned' && { positions: matrix(spec.context, width) }),
    blocks: Array.from({ length: spec.layers }, (_, layer) => ({
      ln1: norm(),
      ...(mixerOf(spec, layer) === 'stateSpace' ? { ssm: stateSpace() } : { attn: attention() }),
      ...(ffn && { ln2: norm(), mlp: feedForward(ffn) }),
    })),
    lnFinal: norm(),
    ...(!tied && { head: { weight: matrix(spec.vocab, width), ...(bias && { bias: full(spec.vocab, 0) }) } }),
  }
}
