/** Training: objectives, optimizers, steps. */
export { type AdamWOptions, type AdamWState, adamw } from './adamw.ts'
export { type InitializeOptions, initialize } from './initialize.ts'
export { maskedTokenLoss, nextTokenLoss, targetLoss } from './loss.ts'
export type { Optimizer } from './optimizer.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
