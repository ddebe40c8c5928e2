/**
 * glossa, the library. Each layer is a module of its own too: `glossa/array`, `glossa/model` and so on.
 *
 * @example
 * const engine = new Engine(nodeRuntime())
 * const model = seal(Model.open('models/default', engine), { weights: 'int4' })
 * const [story] = await complete(model, ['Once upon a time'], { temperature: 0 })
 */
export * from './array/index.ts'
export * from './decode/index.ts'
export * from './embed/index.ts'
export * as interp from './interp/index.ts'
export * from './model/index.ts'
export * from './onnx/index.ts'
export { type With, type WithOptions, withMethods } from './registry/with.ts'
export * from './remote/index.ts'
export * as steer from './steer/index.ts'
export * from './store/index.ts'
export * from './text/index.ts'
export { readAdapter, writeAdapter } from './train/adapters/peft.ts'
export * as data from './train/data/index.ts'
export * from './train/index.ts'
