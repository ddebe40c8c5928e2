/**
 * Steps at a threshold that has a gradient all the same (Rajamanoharan et al. 2024b, equations 11 and 12): that of the
 * expected loss, estimated from pre-activations close to the threshold by a kernel, here a rectangle of width ε.
 *
 *   jumpReLU(x, θ) = x · [x > θ]     ∂/∂x = [x > θ]     ∂/∂θ = −(θ/ε) · [|x − θ| < ε/2]
 *   step(x, θ) = [x > θ]             ∂/∂x = 0           ∂/∂θ = −(1/ε) · [|x − θ| < ε/2]
 *
 * x [batch, n], θ [n].
 */
import { customGradient, type Tensor } from '../../array/index.ts'

const near = (x: Tensor, threshold: Tensor, bandwidth: number): Tensor =>
  x
    .sub(threshold)
    .abs()
    .less(bandwidth / 2)
    .cast(x.dtype)

const above = (x: Tensor, threshold: Tensor): Tensor => x.greater(threshold).cast(x.dtype)

/** Both: x · [x > θ] and [x > θ]. */
export function jumpRelu(
  x: Tensor,
  threshold: Tensor,
  bandwidth: number,
): { readonly value: Tensor; readonly step: Tensor } {
  const call = customGradient(
    'jumpRelu',
    (x, threshold) => {
      const step = above(x!, threshold!)
      return [x!.mul(step), step]
    },
    ([gValue, gStep], { inputs: [x, threshold], outputs: [, step] }) => {
      const through = gValue?.mul(threshold!)
      const both = through && gStep ? through.add(gStep) : (through ?? gStep)
      return [
        gValue?.mul(step!),
        both
          ?.mul(near(x!, threshold!, bandwidth))
          .sumTo(threshold!.shape)
          .mul(-1 / bandwidth),
      ]
    },
  )
  const [value, step] = call(x, threshold)
  return { value: value!, step: step! }
}
