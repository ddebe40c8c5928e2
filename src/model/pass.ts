/** A forward pass of a model inside of a caller's own program; see `Model.compile`. */
import type { Tensor } from '../array/index.ts'
import type { ForwardInput } from './decoder.ts'
import type { DecoderParams } from './spec.ts'
import type { TapOptions } from './taps.ts'

export interface Pass {
  /** With the adapters that the model has. */
  readonly params: DecoderParams
  /** These reads, and these edits after those that the model has itself. */
  forward(
    input: ForwardInput,
    taps: TapOptions,
  ): { readonly logits: Tensor; readonly reads: Readonly<Record<string, Tensor>> }
}
