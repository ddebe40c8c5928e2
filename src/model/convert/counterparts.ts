/** One model in two layouts: which tensor of one is which tensor of the other. */
import type { Described } from '../families/family.ts'
import { type DecoderSpec, partOf } from '../spec.ts'

export interface Counterpart {
  readonly from: string
  readonly to: string
  /** Set for queries and keys, whose rows have another order in each layout: their number of heads. */
  readonly heads: number | undefined
}

type Layout = Pick<Described, 'spec' | 'names'>

/**
 * The tensors of a model and their names in another layout. Throws, naming it, for whatever the other layout
 * has no place for, tensor or hyperparameter: what would get lost would change what the model computes.
 */
export function counterparts(from: Layout, to: Layout, kind: string): Counterpart[] {
  const lost = differences(from.spec, to.spec)
  if (lost.length > 0)
    throw new Error(`${kind} cannot say of this model: ${lost.join('; ')}. There is no way to convert it`)
  const [names, others] = [new Map(namesOf(from.names)), new Map(namesOf(to.names))]
  for (const [place, name] of names)
    if (!others.has(place)) throw new Error(`${kind} has no place for the tensor '${name}' (${place})`)
  const { heads, keyValueHeads } = partOf(from.spec, 'attention')
  return [...others].map(([place, other]) => {
    const name = names.get(place)
    if (name === undefined)
      throw new Error(`${kind} needs a tensor '${other}' (${place}), which the model lacks`)
    const turned = place.includes('.attn.q.') ? heads : place.includes('.attn.k.') ? keyValueHeads : undefined
    return { from: name, to: other, heads: turned }
  })
}

/** Places in the parameter tree (`blocks.0.attn.q.weight`) and the names of their tensors. */
function namesOf(tree: unknown, place = ''): [place: string, name: string][] {
  if (typeof tree === 'string') return [[place, tree]]
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([key, child]) => namesOf(child, place ? `${place}.${key}` : key))
}

/** What two specifications differ in, but for the order of rotary pairs and what f32 rounds away. */
function differences(from: DecoderSpec, to: DecoderSpec): string[] {
  const other = new Map(valuesOf(to))
  return valuesOf(from).flatMap(([path, value]) => {
    const theirs = other.get(path)
    const same =
      typeof value === 'number' && typeof theirs === 'number'
        ? Math.fround(value) === Math.fround(theirs)
        : value === theirs
    return same || path === 'position.interleaved' ? [] : [`${path} is ${value}`]
  })
}

function valuesOf(tree: unknown, path = ''): [path: string, value: unknown][] {
  if (typeof tree !== 'object' || tree === null) return [[path, tree]]
  return Object.entries(tree).flatMap(([key, child]) => valuesOf(child, path ? `${path}.${key}` : key))
}
