/** What single features do to the logits. */
import { type Tensor, tensor } from '../../array/index.ts'
import { type AdapterTree, applyAdapters } from '../../model/adapters.ts'
import type { DecoderParams, Model } from '../../model/index.ts'
import type { Sae } from './sae.ts'
import { traced } from './traced.ts'

export interface LogitEffects {
  readonly feature: number
  /** Tokens that it makes more and less likely, most first, with what it adds to their logits. */
  readonly up: readonly TokenEffect[]
  readonly down: readonly TokenEffect[]
}
export interface TokenEffect {
  readonly token: number
  readonly logit: number
}

/**
 * What features do to the logits directly: the row of W_dec through the final norm and the head, minus what nothing
 * gives, and minus the mean over the vocabulary, which softmax does not see. What later blocks make of it is not in.
 * The norm makes all rows of one size, so sizes compare within a feature.
 */
export async function logitEffects(
  model: Model,
  sae: Sae,
  features: readonly number[],
  top = 10,
): Promise<LogitEffects[]> {
  const { dOut, dSae } = sae.config
  const { width, layers } = model.spec
  if (dOut !== width)
    throw new Error(
      `logit effects are of SAEs that write to the residual stream: this one writes ${dOut} numbers, the model has ${width}`,
    )
  const end = `blocks.${layers - 1}.hook_resid_post`
  const directions = new Float32Array((features.length + 1) * width)
  features.forEach((feature, i) => {
    if (!Number.isInteger(feature) || feature < 0 || feature >= dSae)
      throw new RangeError(`there is no feature ${feature}: the SAE has ${dSae}, counted from 0`)
    const row = (sae.params.W_dec.data as Float32Array).subarray(feature * width, (feature + 1) * width)
    directions.set(row, (i + 1) * width)
  })
  const rows = features.length + 1
  const program = model.engine.jit(
    (params: DecoderParams, adapters: readonly AdapterTree[], tokens: Tensor, rows: Tensor) => {
      const edit = { [end]: () => rows.expandDims(1) }
      return traced(model, applyAdapters(params, adapters), tokens, { edit }).logits
    },
    { name: 'logitEffects' },
  )
  try {
    const tokens = tensor(new Int32Array(rows), [rows, 1])
    const logits = await program(model.params, model.adapters, tokens, tensor(directions, [rows, width]))
    const all = logits.data as Float32Array
    const vocab = all.length / rows
    return features.map((feature, i) => {
      const effects = Array.from({ length: vocab }, (_, id) => all[(i + 1) * vocab + id]! - all[id]!)
      const mean = effects.reduce((a, b) => a + b, 0) / vocab
      const order = effects.map((_, id) => id).sort((a, b) => effects[b]! - effects[a]!)
      const named = (token: number): TokenEffect => ({ token, logit: effects[token]! - mean })
      return { feature, up: order.slice(0, top).map(named), down: order.slice(-top).reverse().map(named) }
    })
  } finally {
    program.dispose()
  }
}
