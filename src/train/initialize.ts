/** Random parameters for a decoder, as GPT-2 was initialised (Radford et al. 2019); state spaces as Mamba was. */
import { random, type Tensor, tensor } from '../array/index.ts'
import type { DecoderNames } from '../model/families/family.ts'
import { parameterShapes } from '../model/shapes.ts'
import { type DecoderParams, type DecoderSpec, mixerOf } from '../model/spec.ts'

export interface InitializeOptions {
  readonly seed?: number
  /** Standard deviation of matrices; those that write to the residual are divided by √(2 layers). */
  readonly deviation?: number
  /** Biases in the linear parts (GPT-2 has them, Llama does not). */
  readonly bias?: boolean
  /** Whether the head shares the embedding. */
  readonly tied?: boolean
  /**
   * The names of a family, whose parameters are made: its biases, joined projections and head. Without them, a
   * projection for each of queries, keys and values, and what the options above say.
   */
  readonly names?: DecoderNames
}

/**
 * Matrices are Gaussian, biases 0, and norms leave what they normalise as it is. A family's tree comes from
 * `family.describe` or `load`: `initialize(spec, { names })` trains any of them from scratch.
 */
export function initialize(spec: DecoderSpec, options: InitializeOptions = {}): DecoderParams {
  const { seed = 0, deviation = 0.02, names, ...plain } = options
  if (names && (plain.bias !== undefined || plain.tied !== undefined))
    throw new Error('initialize: the names say which biases there are and whether the head is tied')
  const tree = names ?? plainNames(spec, plain)
  const shapes = parameterShapes(spec, tree)
  const gaussian = random.gaussian(seed)
  const uniform = random.generator(random.fold(seed, 1))
  const toResidual = deviation / Math.sqrt(2 * spec.layers)
  const make = (path: string, name: string): Tensor => {
    const shape = shapes.get(name) as readonly number[]
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1))
    const own = stateSpacePart.exec(path)?.[1]
    if (own) return tensor(fillStateSpace(own, data, spec, uniform), shape)
    if (shape.length > 1) {
      const scale = writesToResidual.test(path) ? toResidual : deviation
      return tensor(
        data.map(() => scale * gaussian()),
        shape,
      )
    }
    const isNorm = normWeight.test(path)
    // Where weights are stored as differences from 1 (Gemma), 0 is 1.
    return tensor(isNorm ? data.fill(1 - (spec.norm.offset ?? 0)) : data, shape)
  }
  return mapNames(tree, make) as DecoderParams
}

const writesToResidual = /\.(attn\.o|ssm\.output|mlp(\.experts\.\d+)?\.down)\.weight$/
/** What of a state space is not drawn as other matrices are. */
const stateSpacePart = /\.ssm\.(conv\.weight|step\.weight|step\.bias|logDecay|skip)$/
const normWeight = /(^|\.)(ln\w*|qNorm|kNorm)\.weight$/

/** The initial values of Gu and Dao 2023, as their code has them. */
function fillStateSpace(
  part: string,
  data: Float32Array,
  { stateSpace }: DecoderSpec,
  uniform: () => number,
): Float32Array {
  const { state, kernel, rank } = stateSpace!
  const between = (bound: number) => data.map(() => bound * (2 * uniform() - 1))
  switch (part) {
    case 'conv.weight':
      return between(1 / Math.sqrt(kernel))
    case 'step.weight':
      return between(1 / Math.sqrt(rank))
    case 'step.bias':
      // softplus of it is a step from 0.001 to 0.1, evenly in its logarithm.
      return data.map(() => {
        const size = Math.exp(Math.log(0.001) + uniform() * Math.log(100))
        return size + Math.log(-Math.expm1(-size))
      })
    case 'logDecay':
      return data.map((_, i) => Math.log(1 + (i % state)))
    default:
      return data.fill(1)
  }
}

/** The tree with a function of path and name in place of each name. */
function mapNames(tree: unknown, make: (path: string, name: string) => Tensor, path = ''): unknown {
  if (typeof tree === 'string') return make(path, tree)
  if (Array.isArray(tree)) return tree.map((child, i) => mapNames(child, make, `${path}.${i}`))
  if (typeof tree !== 'object' || tree === null) return tree
  return Object.fromEntries(
    Object.entries(tree).map(([key, child]) => [key, mapNames(child, make, path ? `${path}.${key}` : key)]),
  )
}

/** The parameters of a spec that no family has named: each name is its own path. */
function plainNames(
  spec: DecoderSpec,
  { bias = spec.norm.kind === 'layer', tied = true }: InitializeOptions,
): DecoderNames {
  const { ffn, attention, embedWidth, width } = spec
  const { place = 'before', kind } = spec.norm
  const pair = (path: string, own = bias) => ({
    weight: `${path}.weight`,
    ...(own && { bias: `${path}.bias` }),
  })
  const norm = (path: string) => pair(path, kind === 'layer')
  const dense = (path: string) => ({
    ...(ffn?.kind === 'gated' && { gate: pair(`${path}.gate`) }),
    up: pair(`${path}.up`),
    down: pair(`${path}.down`),
  })
  const feedForward = (path: string) =>
    ffn?.experts
      ? {
          router: pair(`${path}.router`, false),
          experts: Array.from({ length: ffn.experts.count }, (_, e) => dense(`${path}.experts.${e}`)),
        }
      : dense(path)
  const attend = (path: string) => ({
    q: pair(`${path}.q`),
    k: pair(`${path}.k`),
    v: pair(`${path}.v`),
    o: pair(`${path}.o`),
    ...(attention?.normalize && {
      qNorm: { weight: `${path}.qNorm.weight` },
      kNorm: { weight: `${path}.kNorm.weight` },
    }),
  })
  const stateSpace = (path: string) => ({
    input: pair(`${path}.input`),
    conv: pair(`${path}.conv`, true),
    select: pair(`${path}.select`, false),
    step: { weight: `${path}.step.weight`, bias: `${path}.step.bias` },
    logDecay: `${path}.logDecay`,
    skip: `${path}.skip`,
    output: pair(`${path}.output`),
  })
  const before = place !== 'after'
  const after = place === 'after' || place === 'both'
  const projected = embedWidth !== undefined && embedWidth !== width
  return {
    embed: 'embed',
    ...(spec.position.kind === 'learned' && { positions: 'positions' }),
    ...(projected && { projectIn: pair('projectIn', false), projectOut: pair('projectOut', false) }),
    blocks: Array.from({ length: spec.layers }, (_, i) => {
      const block = `blocks.${i}`
      return {
        ...(before && { ln1: norm(`${block}.ln1`) }),
        ...(mixerOf(spec, i) === 'stateSpace'
          ? { ssm: stateSpace(`${block}.ssm`) }
          : { attn: attend(`${block}.attn`) }),
        ...(after && { ln1Post: norm(`${block}.ln1Post`) }),
        ...(ffn && {
          ...(before && spec.parallel !== 'one norm' && { ln2: norm(`${block}.ln2`) }),
          mlp: feedForward(`${block}.mlp`),
          ...(after && { ln2Post: norm(`${block}.ln2Post`) }),
        }),
      }
    }),
    ...(place !== 'sum' && { lnFinal: norm('lnFinal') }),
    ...(!tied && { head: pair('head') }),
  }
}
