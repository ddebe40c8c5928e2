/** Decoders whose rows stay of norm 1, around any optimizer. */
import type { Tensor } from '../../array/index.ts'
import type { Optimizer } from '../../train/index.ts'

/**
 * The part of W_dec's gradient along each row is taken off, since a longer row is no other direction; after the step,
 * rows are made of norm 1 again (Bricken et al. 2023). Adam's own sums thus hold no part that normalising would undo.
 */
export function unitNormDecoder<State>(inner: Optimizer<State>): Optimizer<State> {
  return {
    init: (params) => inner.init(params),
    update(params, grads, state, rate) {
      const [own, gradient] = [params, grads] as unknown as [WithDecoder, WithDecoder]
      const along = gradient.W_dec.mul(own.W_dec).sum(1, { keep: true })
      const across = { ...gradient, W_dec: gradient.W_dec.sub(own.W_dec.mul(along)) }
      const result = inner.update(params, across as unknown as typeof params, state, rate)
      const updated = result.params as unknown as WithDecoder
      const norms = updated.W_dec.mul(updated.W_dec).sum(1, { keep: true }).sqrt()
      return {
        params: { ...updated, W_dec: updated.W_dec.div(norms) } as unknown as typeof params,
        state: result.state,
      }
    },
  }
}

interface WithDecoder {
  readonly W_dec: Tensor
}
