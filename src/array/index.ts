/** Typed arrays that are traced, differentiated and compiled. */
export * from './dim.ts'
export * from './dtype.ts'
export { fused, fusedOperations } from './fused.ts'
export { backpropagate, checkpoint, customGradient, grad, valueAndGrad, vjp } from './grad.ts'
export { type Graph, printGraph } from './graph.ts'
export { interpret } from './interpret.ts'
export { type Axes, type AxisNames, type JitOptions, type Jitted, type Program, trace } from './jit.ts'
export * from './nn.ts'
export { type NdArray, ShapeError } from './op.ts'
export { type PrimitiveName, primitives } from './primitives/index.ts'
export * as random from './random.ts'
export { type ScanOptions, scan } from './scan.ts'
export { Scope } from './scope.ts'
export { type FileRange, FileStorage, HostStorage, type Storage } from './storage.ts'
export {
  concat,
  fromStorage,
  iota,
  type Operand,
  placeholder,
  scalar,
  size,
  Tensor,
  tensor,
  zeros,
} from './tensor.ts'
export { leaves, type Mapped, mapTree, type Tree, unflatten, zipTrees } from './tree.ts'
