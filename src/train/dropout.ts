/**
 * Dropout (Srivastava et al. 2014): while a model learns, some channels of what is written to the residual are zero,
 * the others 1 / (1 − rate) times as large.
 *
 *   y = x ∘ m / (1 − rate),   m ~ Bernoulli(1 − rate)
 *
 * One mask for a row, the same at all of its positions (Gal and Ghahramani 2016; in Transformers the
 * `layer_prepostprocess_dropout_broadcast_dims` of Tensor2Tensor): a mask of every position costs as much as a layer.
 * It acts on the embedding and on what each part of a block writes (Vaswani et al. 2017, section 5.4).
 */
import { random, type Tensor } from '../array/index.ts'
import type { Edits } from '../model/edits.ts'
import type { DecoderSpec } from '../model/spec.ts'
import { sites } from '../model/taps.ts'

/** Edits that drop channels, `rate` of them; `key`, an i64 scalar, is the seed of this pass. */
export function dropout(spec: DecoderSpec, rate: number, key: Tensor): Edits {
  if (!(rate >= 0 && rate < 1)) throw new RangeError(`dropout: a rate is in [0, 1), not ${rate}`)
  if (rate === 0) return {}
  const written = [...sites(spec).keys()].filter((site) =>
    /^hook_embed$|\.hook_(attn|ssm|mlp)_out$/.test(site),
  )
  const edits = written.map((site, i) => {
    const drop = (x: Tensor): Tensor => {
      const [batch, , width] = x.shape as [never, never, number]
      const kept = random.bernoulli(random.fold(key, i), 1 - rate, [batch, 1, width])
      return x.mul(kept.cast('f32').mul(1 / (1 - rate)))
    }
    return [site, drop] as const
  })
  return Object.fromEntries(edits)
}
