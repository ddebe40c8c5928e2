/** What an optimizer is: pure functions over trees of parameters, so that a whole step is one graph. */
import * as z from 'zod'
import type { Tensor } from '../array/index.ts'

export interface Optimizer<State> {
  /** The state before the first step, for parameters of these shapes. */
  init<P>(params: P): State
  /** One step. `rate` is the learning rate, an f32 scalar: schedules change it without recompiling. */
  update<P>(params: P, grads: P, state: State, rate: Tensor): { params: P; state: State }
}

/** A choice among parameters by their path in the tree (`blocks.0.attn.q.weight`) and themselves. */
export type Choose = (path: string, leaf: Tensor) => boolean

/**
 * Which parameters weight decay shrinks, unless asked otherwise: matrices, embeddings and learned positions
 * included; neither norms nor biases, whose size says nothing about how complex the model is (as in GPT-3's and most
 * later recipes).
 */
export const decays: Choose = (_, leaf) => leaf.rank > 1

/** Options that every optimizer has. */
export const decayOptions = {
  weightDecay: z.number().nonnegative().default(0).describe('Decay per step and unit of learning rate'),
  decays: z
    .enum(['matrices', 'all'])
    .default('matrices')
    .describe('Parameters that decay: all, as in torch.optim, or those of two axes and more'),
}

/** What a recipe cannot say: choices of parameters as functions. */
export interface Choices {
  /** The parameters that decay, instead of the option `decays`. */
  readonly decays?: Choose
}

/** The parameters that decay under these options, if `weightDecay` is above 0. */
export const chooseDecays = (options: { readonly decays: 'matrices' | 'all' }, choices: Choices): Choose =>
  choices.decays ?? (options.decays === 'all' ? () => true : decays)
