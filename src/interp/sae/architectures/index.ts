/** The architectures: one table, from which a recipe selects by `kind`. */
import { chooseKind, readOptions } from '../../../train/choice.ts'
import type { Architecture } from '../architecture.ts'
import batchTopK from './batchTopK.ts'
import gated from './gated.ts'
import jumpRelu from './jumpRelu.ts'
import pAnneal from './pAnneal.ts'
import scar from './scar.ts'
import standard from './standard.ts'
import topK from './topK.ts'

export const architectures: Readonly<Record<string, Architecture>> = Object.fromEntries(
  [standard, pAnneal, gated, topK, batchTopK, jumpRelu, scar].map((one) => [one.id, one]),
)

export interface ChosenArchitecture {
  readonly architecture: Architecture
  readonly options: Readonly<Record<string, unknown>>
}

/** `{ kind: 'topk', k: 32 }`. Unknown kinds and options are errors that name the choices. */
export function makeArchitecture(recipe: object): ChosenArchitecture {
  const { kind, rest } = chooseKind(architectures, recipe, 'architecture')
  const architecture = architectures[kind]!
  return { architecture, options: readOptions(architecture.options, rest, `architecture '${kind}'`) }
}
