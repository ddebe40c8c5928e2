/** Orders by seed. */
import { random } from '../../array/index.ts'

/** Whole numbers from 0 to `limit - 1`, `limit` up to 2^31: of 48 random bits, so that none is favoured. */
export function integers(seed: number): (limit: number) => number {
  const uniform = random.generator(seed)
  return (limit) => Math.floor((uniform() + uniform() / 2 ** 24) * limit)
}

/**
 * The numbers from 0 to `length - 1` in an order that the seed and the epoch decide, all orders alike: the shuffle of
 * Fisher and Yates as Durstenfeld wrote it (Communications of the ACM 7, 1964).
 */
export function permutation(length: number, seed: number, epoch = 0): Uint32Array {
  const order = Uint32Array.from({ length }, (_, index) => index)
  const below = integers(random.fold(seed, epoch))
  for (let last = length - 1; last > 0; last--) {
    const chosen = below(last + 1)
    const value = order[last]!
    order[last] = order[chosen]!
    order[chosen] = value
  }
  return order
}

/** The list in an order that the seed decides, by the same shuffle: for lists far shorter than 2^24. */
export function shuffled<T>(list: readonly T[], seed: number): T[] {
  const uniform = random.generator(seed)
  const copy = [...list]
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[copy[i], copy[j]] = [copy[j]!, copy[i]!]
  }
  return copy
}
