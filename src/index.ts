/**
 * glossa, the library. Each layer is a module of its own too: `glossa/array`, `glossa/model` and so on.
 *
 * @example
 * const engine = new Engine(nodeRuntime())
 * const model = seal(Model.open('models/starter', engine), { weights: 'int4' })
 * const [story] = await complete(model, ['Once upon a time'], { temperature: 0 })
 */
export * from './array/index.ts'
export * from './decode/index.ts'
export * from './embed/index.ts'
export {
  type BackwardPass,
  BackwardLens,
  type Factors,
  forwardShift,
  gradientOf,
  gradientStep,
  type Projection,
} from './interp/backwardLens.ts'
export { type Law, layerMoments, lawOf, type NextTokenLaw, nextTokenLaw } from './interp/nextTokenLaw.ts'
export { clusterValues, SaturationRule, saturationLayers } from './interp/saturation.ts'
export { conceptTokens, turnOn, type ValueVector, ValueVectors } from './interp/valueVectors.ts'
export * from './model/index.ts'
export * from './onnx/index.ts'
export * from './store/index.ts'
export * from './text/index.ts'
export { readAdapter, writeAdapter } from './train/adapters/peft.ts'
export * as data from './train/data/index.ts'
export * from './train/index.ts'
