/**
 * What a method of the socket `edit` makes: from a model to the edits that steer it. Files that it needs it opens itself.
 *
 * Laws, tested for all of them: strength 0 makes no edits at all, so that every bit stays; two methods compose, at one
 * site in the order in which they are given; a cached pass, a batch and int4 weights give what an uncached row gives;
 * another strength compiles nothing.
 */
import type { Tensor } from '../array/index.ts'
import { tensor } from '../array/index.ts'
import type { Edits, EditWithArguments, Model } from '../model/index.ts'

export interface SteerContext {
  readonly signal?: AbortSignal | undefined
  /** What is going on, for people. */
  readonly note?: (text: string) => void
}

/** `make` of a method of the socket `edit`, once it has its options. */
export type Steer = (model: Model, context?: SteerContext) => Promise<Edits>

/** A number as what a program takes for it. */
export const strengthOf = (strength: number): Tensor => {
  if (!Number.isFinite(strength)) throw new RangeError(`a strength is a finite number, not ${strength}`)
  return tensor([strength], [])
}

export interface Direction {
  /** Of the site's last axis. */
  readonly direction: Tensor
  /** A scalar. */
  readonly strength: Tensor
}

const addDirection = (x: Tensor, { direction, strength }: Direction): Tensor => x.add(direction.mul(strength))

/** x + strength · direction, at every position. */
export const alongDirection = (direction: Tensor, strength: number): EditWithArguments<Direction> => ({
  apply: addDirection,
  args: { direction, strength: strengthOf(strength) },
})

/** The layers of a choice, or all of those that there are; throws for one that is not there. */
export function chosenLayers(chosen: readonly number[] | undefined, there: readonly number[]): number[] {
  const missing = chosen?.find((layer) => !there.includes(layer))
  if (missing !== undefined)
    throw new RangeError(`there is nothing for layer ${missing}; there is for ${there.join(', ')}`)
  return [...(chosen ?? there)]
}
