/** Training: objectives, optimizers, steps. What works on files is in `run/`. */
export * from './adapters/index.ts'
export { clipByGlobalNorm, globalNorm } from './clip.ts'
export { coveringBatches, PackedBatches, type PackedOptions, type TokenSource } from './data/packed.ts'
export { newHead } from './head.ts'
export { type InitializeOptions, initialize } from './initialize.ts'
export { maskedTokenLoss, nextTokenLoss, targetLoss } from './loss.ts'
export type { Loss, Objective } from './objective.ts'
export * from './objectives/index.ts'
export { type Choices, type Choose, decays, type Optimizer } from './optimizer.ts'
export * from './optimizers/index.ts'
export {
  type PolicyRunOptions,
  policyRun,
  type Reward,
  type RoundReport,
  rewardByRule,
  type Sampler,
} from './policyRun.ts'
export {
  makeSchedule,
  type Schedule,
  type ScheduleKind,
  type ScheduleRecipe,
  schedules,
} from './schedules.ts'
export { stackBlocks } from './stack.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
export {
  type Batches,
  type StepReport,
  type Steps,
  type Trainable,
  Trainer,
  type TrainerOptions,
  type TrainingState,
  wholly,
} from './trainer.ts'
