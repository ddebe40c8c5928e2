/** Training: objectives, optimizers, steps. */
export { type AdamWOptions, type AdamWState, adamw } from './adamw.ts'
export * from './adapters/index.ts'
export { type InitializeOptions, initialize } from './initialize.ts'
export { nextTokenLoss } from './loss.ts'
export type { Optimizer } from './optimizer.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
