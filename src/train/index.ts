/** Training: objectives, optimizers, steps. */
export { type InitializeOptions, initialize } from './initialize.ts'
export { nextTokenLoss } from './loss.ts'
export { type Decays, decays, decaysAll, type Optimizer } from './optimizer.ts'
export { type AdamWOptions, type AdamWState, adamw } from './optimizers/adamw.ts'
export { type MuonOptions, type MuonState, muon } from './optimizers/muon.ts'
export { makeStep, type Trained, type TrainingStep, trainingStep } from './step.ts'
