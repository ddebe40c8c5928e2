/** Random parameters for a decoder, as GPT-2 was initialised (Radford et al. 2019). */
import { random, type Tensor, tensor } from '../array/index.ts'
import type { DecoderNames } from '../model/families/family.ts'
import { parameterShapes } from '../model/shapes.ts'
import type { DecoderParams, DecoderSpec } from '../model/spec.ts'

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
  const toResidual = deviation / Math.sqrt(2 * spec.layers)
  const make = (path: string, name: string): Tensor => {
    const shape = shapes.get(name) as readonly number[]
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1))
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

const writesToResidual = /\.(attn\.o|mlp(\.experts\.\d+)?\.down)\.weight$/
const normWeight = /(^|\.)(ln\w*|qNorm|kNorm)\.weight$/

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
    ...(ffn.kind === 'gated' && { gate: pair(`${path}.gate`) }),
    up: pair(`${path}.up`),
    down: pair(`${path}.down`),
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
      const { experts } = ffn
      return {
        ...(before && { ln1: norm(`${block}.ln1`) }),
        attn: {
          q: pair(`${block}.attn.q`),
          k: pair(`${block}.attn.k`),
          v: pair(`${block}.attn.v`),
          o: pair(`${block}.attn.o`),
          ...(attention.normalize && {
            qNorm: { weight: `${block}.attn.qNorm.weight` },
            kNorm: { weight: `${block}.attn.kNorm.weight` },
          }),
        },
        ...(after && { ln1Post: norm(`${block}.ln1Post`) }),
        ...(before && spec.parallel !== 'one norm' && { ln2: norm(`${block}.ln2`) }),
        mlp: experts
          ? {
              router: pair(`${block}.mlp.router`, false),
              experts: Array.from({ length: experts.count }, (_, e) => dense(`${block}.mlp.experts.${e}`)),
            }
          : dense(`${block}.mlp`),
        ...(after && { ln2Post: norm(`${block}.ln2Post`) }),
      }
    }),
    ...(place !== 'sum' && { lnFinal: norm('lnFinal') }),
    ...(!tied && { head: pair('head') }),
  }
}
