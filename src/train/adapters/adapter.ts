/** What an adapter is: trained parameters over frozen ones, and what its file says of it. */
import { leaves, type Tensor, tensor } from '../../array/index.ts'
import { type AdapterParams, type AdapterTree, applyAdapters } from '../../model/adapters.ts'
import type { DecoderParams, ModuleSource } from '../../model/index.ts'
import type { PeftConfig } from './config.ts'

export interface Adapter extends AdapterTree {
  readonly kind: 'lora' | 'ia3' | 'prefix' | 'prompt'
  /** adapter_config.json, as it was read or will be written. */
  readonly config: PeftConfig
}

/** The model that an adapter is for: an opened one, or what `load` gives. */
export type AdapterBase = ModuleSource & { readonly params: DecoderParams }

/** The full strength of an adapter: what was trained. */
export const full = (): Tensor => tensor([1], [])

/** A parameter of the model by its place. */
export function leafAt({ params, path = 'this model' }: AdapterBase, place: string): Tensor {
  const found = leaves(params).find(([own]) => own === place)
  if (!found) throw new Error(`${path} has no numbers of '${place}'`)
  return found[1]
}

/** The adapter with its effect multiplied: at 0 the model is what it was. */
export function withStrength(adapter: Adapter, strength: number): Adapter {
  const { prefix, prompt, saved } = adapter.params
  if (!Number.isFinite(strength))
    throw new RangeError(`the strength of an adapter is a number, not ${strength}`)
  if (strength !== 1 && (prefix || prompt || saved)) {
    const what = prefix ? 'a prefix' : prompt ? 'a soft prompt' : 'modules saved whole (modules_to_save)'
    throw new Error(`an adapter with ${what} is there or not: it has no strength ${strength}`)
  }
  return { ...adapter, strength: tensor([strength], []) }
}

/** What a trainer needs: the trained tree, the frozen one, and the model that both make together. */
export function overFrozen(params: DecoderParams, { params: trained, scales, strength }: Adapter) {
  type Frozen = Omit<AdapterTree, 'params'> & { readonly base: DecoderParams }
  return {
    params: trained,
    frozen: { base: params, scales, strength } as Frozen,
    assemble: (own: AdapterParams, { base, ...rest }: Frozen): DecoderParams =>
      applyAdapters(base, [{ ...rest, params: own }]),
  }
}
