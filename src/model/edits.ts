/**
 * Edits: what stands in the place of an activation. A plain function is part of its program with all that it captures;
 * one with arguments takes them at run time, so that another strength or another vector compiles nothing.
 */
import { leaves, type Tensor, type Tree } from '../array/index.ts'

interface EditTraits {
  /** Why it needs the activations of all positions at once, which a pass with a cache does not have. */
  readonly wholeSequence?: string
}

/** From the activation to its replacement of the same type. Tensors that it captures become constants. */
export interface EditFunction extends EditTraits {
  (activation: Tensor): Tensor
}

/**
 * An edit with arguments. Programs are kept by the identity of `apply`: define it once, outside of what makes the edit.
 * Arguments of the same structure, shapes and dtypes run in the same program.
 *
 * @example
 * const add = (x: Tensor, { vector, strength }: Steer) => x.add(vector.mul(strength))
 * model.run(tokens, { edit: { 'blocks.3.hook_resid_post': { apply: add, args: { vector, strength } } } })
 */
// biome-ignore lint/suspicious/noExplicitAny: edits of one model differ in what they take
export interface EditWithArguments<Args = any> extends EditTraits {
  apply(activation: Tensor, args: Args): Tensor
  readonly args: Args
}

export type Edit = EditFunction | EditWithArguments

/** By site: an edit, or several that are applied in their order. */
export type Edits = Readonly<Record<string, Edit | readonly Edit[]>>

/** The edits of each site, sites in one order, without those that have none. */
export const editsBySite = (edits: Edits = {}): [site: string, edits: readonly Edit[]][] =>
  Object.keys(edits)
    .sort()
    .flatMap((site) => {
      const list = [edits[site]!].flat() as Edit[]
      return list.length > 0 ? [[site, list] as [string, Edit[]]] : []
    })

/** What an edit makes of an activation. */
export const applyEdit = (edit: Edit, activation: Tensor): Tensor =>
  typeof edit === 'function' ? edit(activation) : edit.apply(activation, edit.args)

/** Both: where they meet at a site, the first ones act first. */
export function joinEdits(first: Edits = {}, second: Edits = {}): Edits {
  const joined: Record<string, Edit | readonly Edit[]> = { ...first }
  for (const [site, edits] of Object.entries(second))
    joined[site] = site in first ? ([first[site]!, edits].flat() as Edit[]) : edits
  return joined
}

/** What a program takes of edits: arguments by site, in their order. */
export type EditArguments = Readonly<Record<string, readonly (Tree | undefined)[]>>

export const argumentsOf = (edits: Edits | undefined): EditArguments =>
  Object.fromEntries(
    editsBySite(edits).map(([site, list]) => [
      site,
      list.map((edit) => (typeof edit === 'function' ? undefined : (edit.args as Tree))),
    ]),
  )

/** The same functions with other arguments: those of a trace, or none, for what is to be kept without them. */
export const withArguments = (edits: Edits | undefined, args: EditArguments): Edits =>
  Object.fromEntries(
    editsBySite(edits).map(([site, list]) => [
      site,
      list.map((edit, i) => (typeof edit === 'function' ? edit : { ...edit, args: args[site]?.[i] })),
    ]),
  )

const functionIds = new WeakMap<object, number>()
let nextFunction = 0

/** Equal where the functions are the same at the same sites, whatever their arguments. */
export const editKey = (edits: Edits | undefined): string =>
  editsBySite(edits)
    .map(([site, list]) => {
      const ids = list.map((edit) => {
        const f = typeof edit === 'function' ? edit : edit.apply
        if (!functionIds.has(f)) functionIds.set(f, nextFunction++)
        return functionIds.get(f)
      })
      return `${site}=${ids.join('+')}`
    })
    .join(',')

/** Whether two sets of edits do the same: the same functions with arguments that are equal in all of their values. */
export function sameEdits(a: Edits | undefined, b: Edits | undefined): boolean {
  if (a === b) return true
  if (editKey(a) !== editKey(b)) return false
  const [one, other] = [leaves(argumentsOf(a)), leaves(argumentsOf(b))]
  return (
    one.length === other.length &&
    one.every(([path, leaf], i) => path === other[i]![0] && sameValues(leaf, other[i]![1]))
  )
}

/** Tensors are not changed, so one is always equal to itself; on a device nothing else is known to be. */
function sameValues(a: Tensor, b: Tensor): boolean {
  if (a === b) return true
  if (`${a}` !== `${b}` || a.storage.load || b.storage.load) return false
  const [left, right] = [a.data, b.data]
  return left.every((x: number | bigint, i: number) => x === right[i])
}
