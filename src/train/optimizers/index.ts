/** The optimizers: one table, from which a recipe selects by `kind`. */
import * as z from 'zod'
import { chooseKind, readOptions } from '../choice.ts'
import type { Optimizer } from '../optimizer.ts'
import { adafactor, adafactorSchema } from './adafactor.ts'
import { adamw, adamwSchema } from './adamw.ts'
import { lion, lionSchema } from './lion.ts'
import { muon, muonSchema } from './muon.ts'
import { sgd, sgdSchema } from './sgd.ts'

export const optimizers = {
  adafactor: { options: adafactorSchema, make: adafactor },
  adamw: { options: adamwSchema, make: adamw },
  lion: { options: lionSchema, make: lion },
  muon: { options: muonSchema, make: muon },
  sgd: { options: sgdSchema, make: sgd },
} as const

export type OptimizerKind = keyof typeof optimizers

const rate = z.number().nonnegative().describe('Learning rate, before a schedule')

/** A recipe as it stands in JSON: `{ "kind": "muon", "rate": 0.02, "weightDecay": 0.1 }`. */
export type OptimizerRecipe = {
  [K in OptimizerKind]: { kind: K; rate: number } & z.input<(typeof optimizers)[K]['options']>
}[OptimizerKind]

export interface ChosenOptimizer {
  readonly kind: OptimizerKind
  readonly rate: number
  readonly optimizer: Optimizer<unknown>
}

/** The optimizer of a recipe and its learning rate. Unknown kinds and options are errors that name the choices. */
export function makeOptimizer(recipe: OptimizerRecipe | object): ChosenOptimizer {
  const { kind, rest } = chooseKind(optimizers, recipe, 'optimizer')
  const { options, make } = optimizers[kind]
  const { rate: read, ...own } = readOptions(options.extend({ rate }), rest, kind) as { rate: number }
  return { kind, rate: read, optimizer: make(own) as Optimizer<unknown> }
}

export { type AdafactorOptions, type AdafactorState, adafactor } from './adafactor.ts'
export { type AdamWOptions, type AdamWState, adamw } from './adamw.ts'
export { type LionOptions, type LionState, lion } from './lion.ts'
export { type MuonOptions, type MuonState, muon, orthogonal } from './muon.ts'
export { type SgdOptions, type SgdState, sgd } from './sgd.ts'
