/** New linear heads over a decoder's states: of classes, of a value, of a projection. */
import { random, tensor } from '../array/index.ts'
import type { Linear } from '../model/spec.ts'

/** weight [outputs, width] with this deviation, 0.02 by default; bias [outputs] of zeros. */
export function newHead(outputs: number, width: number, seed: number, deviation = 0.02): Linear {
  const gaussian = random.gaussian(seed)
  return {
    weight: tensor(
      Float32Array.from({ length: outputs * width }, () => deviation * gaussian()),
      [outputs, width],
    ),
    bias: tensor(new Float32Array(outputs)),
  }
}
