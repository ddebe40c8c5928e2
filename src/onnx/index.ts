/** ONNX Runtime as the engine of traced graphs. */
export { type CompileOptions, Engine, type EngineOptions } from './engine.ts'
export { type NodeRuntimeOptions, nodeRuntime } from './node.ts'
