/** Training: objectives, optimizers, steps. */
export { clipByGlobalNorm, globalNorm } from './clip.ts'
export { type InitializeOptions, initialize } from './initialize.ts'
export { nextTokenLoss } from './loss.ts'
export { type Choices, type Choose, decays, type Optimizer } from './optimizer.ts'
export * from './optimizers/index.ts'
export {
  makeSchedule,
  type Schedule,
  type ScheduleKind,
  type ScheduleRecipe,
  schedules,
} from './schedules.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
