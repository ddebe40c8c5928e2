/** Training: objectives, optimizers, steps. What works on files is in `run/`. */
export { clipByGlobalNorm, globalNorm } from './clip.ts'
export { coveringBatches, PackedBatches, type PackedOptions, type TokenSource } from './data/packed.ts'
export { type InitializeOptions, initialize } from './initialize.ts'
export { nextTokenLoss } from './loss.ts'
export type { Loss, Objective } from './objective.ts'
export * from './objectives/index.ts'
export { type Decays, decays, decaysAll, type Optimizer } from './optimizer.ts'
export { type AdamWOptions, type AdamWState, adamw } from './optimizers/adamw.ts'
export { makeOptimizer, type OptimizerOptions, optimizerSchema } from './optimizers/index.ts'
export { type MuonOptions, type MuonState, muon } from './optimizers/muon.ts'
export { type Schedule, type ScheduleOptions, schedule, scheduleSchema } from './schedules.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
export {
  type Batches,
  type StepReport,
  type Trainable,
  Trainer,
  type TrainerOptions,
  type TrainingState,
  wholly,
} from './trainer.ts'
