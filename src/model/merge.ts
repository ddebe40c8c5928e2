/** Adapters into the weights: what they compute, without their cost. */
import type { Tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import { type AdapterParams, type AdapterTree, applyAdapters } from './adapters.ts'
import { biasOf, lowRankProduct, plain, rowNorms } from './parts/linear.ts'
import type { DecoderParams, DecoderSpec, Linear, LinearAdapter, LowRank, Matrix } from './spec.ts'

type Layout = DecoderSpec['layout']

/** What has been merged into parameters, to refuse doing it twice. */
const history = new WeakMap<DecoderParams, readonly AdapterParams[]>()

/** Throws for an adapter that is in these weights already. */
export function checkNotMerged(params: DecoderParams, adapters: readonly AdapterTree[]): void {
  const known = history.get(params) ?? []
  if (adapters.some((adapter) => known.includes(adapter.params)))
    throw new Error('this adapter has been merged into the weights already: it would count twice')
}

/**
 * Parameters that compute what `params` with the adapters compute, up to rounding; those that no adapter changes are
 * the same tensors. Prefixes and soft prompts are no weights: they are left to the caller. A tied head stays as it
 * was if the embedding changes, and is then a head of its own.
 */
export async function mergeAdapters(
  engine: Engine,
  { layout }: DecoderSpec,
  params: DecoderParams,
  adapters: readonly AdapterTree[],
): Promise<DecoderParams> {
  checkNotMerged(params, adapters)
  const weights = adapters.map(({ params: { linears, saved }, ...rest }) => ({
    ...rest,
    params: { linears, saved },
  }))
  const adapted = applyAdapters(params, weights)
  // One program for all parts of one shape.
  using merge = engine.jit((part: Linear) => mergePart(part, layout), { name: 'merge' })
  using mergeHead = engine.jit((part: Linear) => mergePart(part, 'out-in'), { name: 'mergeHead' })
  using mergeRows = engine.jit(mergeEmbedding, { name: 'mergeEmbedding' })
  const visit = async (tree: unknown, head = false): Promise<unknown> => {
    if (typeof tree !== 'object' || tree === null || !isBranch(tree)) return tree
    if ('adapters' in tree) {
      const part = tree as Linear
      // The factors of single updates are not computed yet.
      const ready = { ...part, adapters: await engine.compute(part.adapters) } as Linear
      return { ...part, adapters: undefined, ...(await (head ? mergeHead : merge)(ready)) }
    }
    if (Array.isArray(tree)) {
      const children: unknown[] = []
      for (const child of tree) children.push(await visit(child))
      return children
    }
    const entries: [string, unknown][] = []
    for (const [key, child] of Object.entries(tree)) entries.push([key, await visit(child, key === 'head')])
    return Object.fromEntries(entries)
  }
  const { embedAdapters, ...rest } = adapted
  const merged = (await visit(rest)) as DecoderParams
  const result = embedAdapters
    ? { ...merged, embed: await mergeRows(plain(merged.embed), await engine.compute(embedAdapters)) }
    : merged
  history.set(result, [...(history.get(params) ?? []), ...adapters.map((adapter) => adapter.params)])
  return result
}

const isBranch = (tree: object): boolean =>
  Array.isArray(tree) || Object.getPrototypeOf(tree) === Object.prototype

function mergePart(part: Linear, layout: Layout): { weight: Tensor; bias?: Tensor } {
  const { weight, adapters = [] } = part
  const bias = adapters.some((adapter) => 'outputs' in adapter) ? biasOf(part) : undefined
  return {
    weight: adapters.reduce((sum, adapter) => changed(sum, adapter, whole(weight), layout), whole(weight)),
    ...(bias && { bias }),
  }
}

function whole(weight: Matrix): Tensor {
  if ('packed' in weight)
    throw new Error('an adapter cannot be merged into quantised weights: merge it before')
  return weight
}

/** `sum` with one more adapter; `weight` is the matrix without any. */
function changed(sum: Tensor, adapter: LinearAdapter, weight: Tensor, layout: Layout): Tensor {
  /** A vector over the inputs or the outputs, to be multiplied with the matrix. */
  const along = (vector: Tensor, axis: 'in' | 'out'): Tensor =>
    (axis === 'out') === (layout === 'out-in') ? vector.expandDims(-1) : vector
  const factor = (vector: Tensor): Tensor => vector.sub(1).mul(adapter.strength).add(1)
  if ('inputs' in adapter) return sum.mul(along(factor(adapter.inputs), 'in'))
  if ('outputs' in adapter) return sum.mul(along(factor(adapter.outputs), 'out'))
  const { a, b, magnitude, scale, strength } = adapter
  const update = lowRankProduct(a, b, layout).mul(scale)
  if (!magnitude) return sum.add(update.mul(strength))
  const growth = along(magnitude.div(rowNorms(weight, adapter, layout)), 'out')
  return sum.add(growth.mul(weight.add(update)).sub(weight).mul(strength))
}

const mergeEmbedding = (embed: Tensor, adapters: readonly LowRank[]): Tensor =>
  adapters.reduce(
    (rows, { a, b, scale, strength }) => rows.add(lowRankProduct(a, b, 'in-out').mul(scale.mul(strength))),
    embed,
  )
