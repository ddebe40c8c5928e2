/** A model's forward pass inside a program of one's own. */
import type { Tensor } from '../../array/index.ts'
import { forward } from '../../model/decoder.ts'
import type { DecoderParams, Model } from '../../model/index.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import { type TapOptions, Taps } from '../../model/taps.ts'

/** Traces the pass over tokens [batch, T] with the model's own taps and more. `params` are the model's, adapters applied. */
export function traced(
  model: Model,
  params: DecoderParams,
  tokens: Tensor,
  { read = [], edit = {} }: TapOptions,
): { readonly logits: Tensor; readonly reads: Readonly<Record<string, Tensor>> } {
  if (model.sealed) throw new Error('SAEs are looked at in an open model, not in a sealed one')
  const { spec, positions } = model
  const taps = new Taps(spec, { read, edit: { ...model.taps.edit, ...edit } })
  const { logits } = forward(spec, params, { tokens }, rotaryTables(spec, positions), taps)
  return { logits, reads: taps.finish() }
}
