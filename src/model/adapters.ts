/**
 * Adapters as data: trees of tensors that go into a program beside the weights, so that another adapter of the same
 * shapes runs in the same program, several can be stacked, and a gradient flows to them alone.
 */
import type { Tensor } from '../array/index.ts'
import type { AttentionParams, DecoderParams, LinearAdapter, LowRank, Prefix } from './spec.ts'

/** What is trained of an adapter. Places are paths in the tree of parameters: `blocks.0.attn.q`. */
export interface AdapterParams {
  /** By the place of a linear part, or `embed`. */
  readonly linears?: Readonly<Record<string, LinearParams>> | undefined
  /** Parameters that are replaced whole, by their place: `head.weight`, `lnFinal.weight`, `embed`. */
  readonly saved?: Readonly<Record<string, Tensor>> | undefined
  /** Keys and values before all tokens: [P, layers, 2, keyValueHeads, headSize]. */
  readonly prefix?: Tensor | undefined
  /** Embeddings before those of all tokens: [P, width]. */
  readonly prompt?: Tensor | undefined
}

/** a [rank, in], b [out, rank], magnitude [out]; vectors [in] or [out]. */
export type LinearParams =
  | { readonly a: Tensor; readonly b: Tensor; readonly magnitude?: Tensor | undefined }
  | { readonly inputs: Tensor }
  | { readonly outputs: Tensor }

/** Everything of an adapter that a program takes. */
export interface AdapterTree {
  readonly params: AdapterParams
  /** Factors of the low-rank updates: one for all, f32 [], or one for each in the order of `linears`, [updates]. */
  readonly scales?: Tensor | undefined
  /** f32 []: 0 leaves the model as it is, 1 is what was trained. Prefixes, prompts and saved parts are for 1 only. */
  readonly strength: Tensor
}

/** The tensors of adapters, without what else an object may hold: what a program can take as its argument. */
export const treesOf = (adapters: readonly AdapterTree[]): AdapterTree[] =>
  adapters.map(({ params, scales, strength }) => ({ params, scales, strength }))

/**
 * Parameters with adapters, the first one nearest to the weights. A pure function of trees: no weight is copied or
 * computed. Throws for a place that the model does not have.
 */
export function applyAdapters(params: DecoderParams, adapters: readonly AdapterTree[]): DecoderParams {
  checkStack(adapters)
  return adapters.reduce(apply, params)
}

/** Throws for what cannot be stacked. */
export function checkStack(adapters: readonly AdapterTree[]): void {
  const before = adapters.filter(({ params }) => params.prefix || params.prompt)
  if (before.length > 1)
    throw new Error(
      'only one of the adapters can be a prefix or a soft prompt: both stand before the first token',
    )
  const [changed, replaced] = [new Set<string>(), new Set<string>()]
  for (const { params } of adapters) {
    const whole = Object.keys(params.saved ?? {}).map((place) => place.replace(/\.(weight|bias)$/, ''))
    const parts = Object.keys(params.linears ?? {})
    const twice = whole.find((place) => changed.has(place)) ?? parts.find((place) => replaced.has(place))
    if (twice !== undefined)
      throw new Error(`one of the adapters replaces '${twice}' whole, and another one changes it too`)
    for (const place of whole) replaced.add(place)
    for (const place of [...whole, ...parts]) changed.add(place)
  }
}

function apply(params: DecoderParams, adapter: AdapterTree): DecoderParams {
  const { linears = {}, saved = {}, prefix, prompt } = adapter.params
  const open = new Set([...Object.keys(linears), ...Object.keys(saved)])
  const changes = new Map(linearAdapters(adapter))
  const changed = replaceParts(params, (place, part) => {
    const own = changes.get(place)
    const replaced = replaceSaved(part, place, saved, open)
    if (!own) return replaced
    open.delete(place)
    return { ...replaced, adapters: [...((part as { adapters?: [] }).adapters ?? []), own] }
  })
  let { embed, positions, head, embedAdapters } = changed
  if (saved.positions) positions = saved.positions
  const own = changes.get('embed')
  // A tied head goes on with the embedding as it was.
  if ((saved.embed || own) && !head) head = { weight: params.embed }
  if (saved.embed) embed = saved.embed
  if (own) embedAdapters = [...(embedAdapters ?? []), own as LowRank]
  for (const place of ['embed', ...(params.positions ? ['positions'] : [])]) open.delete(place)
  if (open.size > 0)
    throw new Error(`the adapter is not one of this model: there is no '${[...open].join("', '")}'`)
  const blocks = prefix
    ? changed.blocks.map((block, layer) => {
        if (!block.attn) throw new Error(`a prefix is keys and values: layer ${layer} has no attention`)
        return { ...block, attn: withPrefix(block.attn, prefix, layer) }
      })
    : changed.blocks
  return { ...changed, embed, positions, head, embedAdapters, blocks, ...(prompt && { prompt }) }
}

/** Changes of the linear parts, by place. */
function linearAdapters({ params, scales, strength }: AdapterTree): [place: string, LinearAdapter][] {
  let update = 0
  return Object.entries(params.linears ?? {}).map(([place, part]) => {
    if (!('a' in part)) return [place, { ...part, strength }]
    if (!scales) throw new Error('low-rank updates need their scales')
    const scale = scales.rank === 0 ? scales : scales.slice(0, update, update + 1).reshape([])
    update++
    return [place, { ...part, scale, strength }]
  })
}

type Part = Readonly<Record<string, unknown>>

/** The tree with other parts: objects with a weight or a bias, in all depths. */
function replaceParts<T>(tree: T, f: (place: string, part: Part) => Part, place = ''): T {
  if (Array.isArray(tree))
    return tree.map((child, i) => replaceParts(child as unknown, f, `${place}.${i}`)) as T
  if (typeof tree !== 'object' || tree === null || Object.getPrototypeOf(tree) !== Object.prototype)
    return tree
  if ('weight' in tree || 'bias' in tree) return f(place, tree as Part) as T
  return Object.fromEntries(
    Object.entries(tree).map(([key, child]) => [
      key,
      replaceParts(child as unknown, f, place ? `${place}.${key}` : key),
    ]),
  ) as T
}

function replaceSaved(
  part: Part,
  place: string,
  saved: Readonly<Record<string, Tensor>>,
  open: Set<string>,
): Part {
  const entries = Object.keys(part).flatMap((key) => {
    const leaf = saved[`${place}.${key}`]
    if (!leaf) return []
    open.delete(`${place}.${key}`)
    return [[key, leaf] as const]
  })
  return entries.length === 0 ? part : { ...part, ...Object.fromEntries(entries) }
}

/** A layer with its part of [P, layers, 2, keyValueHeads, headSize]. */
function withPrefix(attn: AttentionParams, prefix: Tensor, layer: number): AttentionParams {
  const [count, , , heads, size] = prefix.shape as readonly [number, number, number, number, number]
  const [keys, values] = prefix
    .slice(1, layer, layer + 1)
    .split(2, [1, 1])
    .map((part) => part.reshape([count, heads, size]).transpose([1, 0, 2])) as [Tensor, Tensor]
  const own: Prefix = { keys, values }
  return { ...attn, prefix: own }
}
