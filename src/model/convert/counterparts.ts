/** One model in two layouts: which tensor of one is which tensor of the other, and what becomes of it. */
import type { Described } from '../families/family.ts'
import { type DecoderSpec, partOf } from '../spec.ts'

export interface Counterpart {
  readonly from: string
  readonly to: string
  readonly changes: readonly Change[]
}

/**
 * What a tensor has to go through. `turned`: rows of queries and keys, of which rotary pairs are halves of a head in one
 * layout and neighbours in the other. `apart`: rows of a joined projection, each head's query, key and value together,
 * become all queries, all keys and all values. `transposed`: [in, out] becomes [out, in]. `whole`: 1 is added.
 */
export type Change =
  | { readonly kind: 'turned'; readonly heads: number }
  | { readonly kind: 'apart'; readonly heads: number }
  | { readonly kind: 'transposed' }
  | { readonly kind: 'whole' }

type Layout = Pick<Described, 'spec' | 'names'>

/**
 * The tensors of a model and their names in another layout. Throws, naming it, for whatever the other layout
 * has no place for, tensor or hyperparameter: what would get lost would change what the model computes.
 */
export function counterparts(from: Layout, to: Layout, kind: string): Counterpart[] {
  const lost = differences(from.spec, to.spec)
  if (lost.length > 0)
    throw new Error(`${kind} cannot say of this model: ${lost.join('; ')}. There is no way to convert it`)
  const [names, others] = [new Map(placesOf(from.names)), new Map(placesOf(to.names))]
  for (const [place, name] of names)
    if (!others.has(place)) throw new Error(`${kind} has no place for the tensor '${name}' (${place})`)
  return [...others].map(([place, other]) => {
    const name = names.get(place)
    if (name === undefined)
      throw new Error(`${kind} needs a tensor '${other}' (${place}), which the model lacks`)
    return { from: name, to: other, changes: changesOf(place, from.spec, to.spec) }
  })
}

function changesOf(place: string, from: DecoderSpec, to: DecoderSpec): Change[] {
  const changes: Change[] = []
  const [own, other] = [partOf(from, 'attention'), partOf(to, 'attention')]
  const { heads, keyValueHeads } = own
  if (from.layout !== to.layout && /^blocks\..*\.(attn|mlp)\.\w+\.weight$/.test(place) && !/Norm/.test(place))
    changes.push({ kind: 'transposed' })
  if (pairsOf(from) !== pairsOf(to) && /\.attn\.[qk]\./.test(place))
    changes.push({ kind: 'turned', heads: place.includes('.q.') ? heads : keyValueHeads })
  if (own.joinedByHead && !other.joinedByHead && place.includes('.attn.qkv.'))
    changes.push({ kind: 'apart', heads })
  if (from.norm.offset === 1 && !to.norm.offset && /(^|\.)(ln\w*|[qk]Norm)\.weight$/.test(place))
    changes.push({ kind: 'whole' })
  return changes
}

const pairsOf = ({ position }: DecoderSpec): boolean | undefined =>
  position.kind === 'rotary' ? position.interleaved : undefined

/** Places in the parameter tree (`blocks.0.attn.q.weight`) and the names of their tensors. */
export function placesOf(tree: unknown, place = ''): [place: string, name: string][] {
  if (typeof tree === 'string') return [[place, tree]]
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([key, child]) => placesOf(child, place ? `${place}.${key}` : key))
}

/** What the tensors make up for. */
const madeUpFor: readonly string[] = [
  'position.interleaved',
  'layout',
  'attention.joinedByHead',
  'norm.offset',
]

/** What two specifications differ in, but for what f32 rounds away. */
function differences(from: DecoderSpec, to: DecoderSpec): string[] {
  const [own, other] = [new Map(valuesOf(from)), new Map(valuesOf(to))]
  return [...new Set([...own.keys(), ...other.keys()])].flatMap((path) => {
    const [value, theirs] = [own.get(path), other.get(path)]
    const same =
      typeof value === 'number' && typeof theirs === 'number'
        ? Math.fround(value) === Math.fround(theirs)
        : value === theirs
    return same || madeUpFor.includes(path) ? [] : [`${path} is ${value}`]
  })
}

function valuesOf(tree: unknown, path = ''): [path: string, value: unknown][] {
  if (typeof tree !== 'object' || tree === null) return [[path, tree]]
  return Object.entries(tree).flatMap(([key, child]) => valuesOf(child, path ? `${path}.${key}` : key))
}
