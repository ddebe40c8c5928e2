/** All operations, by name. */
import type { Operation } from '../operation.ts'
import { about, methods } from './about.ts'
import { activations, feature, features } from './features.ts'
import { attention, lens, patch, patchAt, tap } from './look.ts'
import { model } from './model.ts'
import { fit, sweepSteer } from './steer.ts'
import { runs, trainRun } from './train.ts'
import { measure, score, write } from './write.ts'

export const operations: Readonly<Record<string, Operation>> = Object.fromEntries(
  [
    ...[about, model, methods, write, score, measure],
    ...[lens, attention, tap, patch, patchAt],
    ...[features, feature, activations],
    ...[fit, sweepSteer, runs, trainRun],
  ].map((one) => [one.name, one]),
)
