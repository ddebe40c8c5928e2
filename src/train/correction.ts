/**
 * How much of a running mean its steps have filled: 1 − βᵗ after t steps, by which Adam and its kin divide (Kingma
 * and Ba 2015, section 3).
 *
 * Taken literally it loses four digits in f32, and f64 is not to be had on WebGPU. So, with y = −t ln β:
 * 1 − exp(−z) by its series for z = y / 2ᵏ, and then k times 1 − exp(−2z) = (1 − exp(−z)) (2 − (1 − exp(−z))), which
 * adds no error of its own, because what it makes larger by c it divides by.
 */
import { scalar, type Tensor } from '../array/index.ts'

/** From here on 1 − exp(−y) is 1 in f32. */
const full = 18
const doublings = 6
/** The first that is left out is (18 / 2⁶)⁷ / 8! = 3.5e-9 of the sum. */
const terms = 7

/** 1 − βᵗ in f32, to a few units of its last place. `step` is the number t of steps, an f32 scalar. */
export function filled(beta: number, step: Tensor): Tensor {
  const y = step.mul(Math.min(-Math.log(beta), full)).minimum(full)
  const z = y.mul(2 ** -doublings)
  // z (1 − z/2 (1 − z/3 (...)))
  let sum: Tensor = scalar(1)
  for (let n = terms; n > 1; n--)
    sum = z
      .mul(-1 / n)
      .mul(sum)
      .add(1)
  let part = z.mul(sum)
  for (let k = 0; k < doublings; k++) part = part.mul(part.neg().add(2))
  return part
}
