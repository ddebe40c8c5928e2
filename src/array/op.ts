/** The protocol between a traced call and the four rules of its operation. */
import type { Bindings, Dim, Shape } from './dim.ts'
import type { DType, TypedArray } from './dtype.ts'
import type { Tensor } from './tensor.ts'

/** What is known of an array while tracing. */
export interface Aval {
  readonly shape: Shape
  readonly dtype: DType
}

/** Attribute values are plain data, so that graphs can be printed, compared and cached. */
export type AttributeValue = number | string | boolean | Dim | Shape | readonly string[]
/** The attribute `body` is a function that the operation runs. */
export type Attributes = Readonly<Record<string, AttributeValue | undefined>> & { readonly body?: Body }

/** A function that an operation runs many times, traced once: a graph of its own. */
export interface Body {
  /** Its own placeholders, then the tensors around it that it uses: nothing else reaches it, but for literals. */
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  /** The `grad` of the call, which has to trace the function again. */
  readonly gradient: Exclude<Op['grad'], string>
}

/** One application of an operation. Its outputs point back to it; its inputs are older tensors. */
export interface Call<A = Attributes> {
  readonly op: Op
  readonly inputs: readonly Tensor[]
  readonly attributes: A
  readonly outputs: readonly Tensor[]
  /** For a fused operation: the same outputs, composed of other operations. */
  readonly expansion?: readonly Tensor[]
}

/** A concrete array of the reference interpreter; every dtype is held in float64, which is exact for all of them but i64. */
export interface NdArray {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

/** A value in the graph being emitted. */
export type Value = string

/** Where an operation writes its ONNX nodes. Implemented in `onnx/`, the only place that knows the runtime. */
export interface Emitter {
  /**
   * Execution provider that the graph is meant for; contrib operators exist on some only. 'onnx' is any: operators
   * of the standard, and others where that has nothing like them.
   */
  readonly provider: string
  /** One node with one output. `domain` is '' for the ONNX standard, 'com.microsoft' for contrib operators. */
  node(
    op: string,
    inputs: readonly (Value | undefined)[],
    attributes?: NodeAttributes,
    domain?: string,
  ): Value
  nodes(
    op: string,
    inputs: readonly (Value | undefined)[],
    outputs: number,
    attributes?: NodeAttributes,
    domain?: string,
  ): Value[]
  constant(dtype: DType, shape: readonly number[], data: TypedArray): Value
  scalar(value: number, dtype: DType): Value
  /** A one-dimensional i64 value holding sizes; symbolic ones are computed when the program runs. */
  dims(shape: Shape): Value
  /** The initialiser's bytes if the tensor is a constant of this graph (needed by operators that prepack). */
  isConstant(tensor: Tensor): boolean
  /** Whether anything uses a tensor: an operation may leave out those of its outputs that nothing does. */
  needs(tensor: Tensor): boolean
  /**
   * One node that runs a graph, which is its attribute `body`: from `inputs`, the placeholders that the node feeds,
   * to `outputs`. `around` has the values of other tensors that it uses.
   */
  loop(
    op: string,
    inputs: readonly Value[],
    body: Pick<Body, 'inputs' | 'outputs'> & { readonly around: ReadonlyMap<Tensor, Value> },
    attributes: NodeAttributes,
  ): Value[]
}
export type NodeAttribute =
  | number
  | string
  | { readonly float: number }
  | readonly number[]
  | { readonly dtype: DType }
export type NodeAttributes = Readonly<Record<string, NodeAttribute | undefined>>

/** The rules of an operation. A primitive has all; a fused operation is a body with optional rules. */
export interface Op<A = Attributes> {
  readonly name: string
  /** Result types; throws `ShapeError` text for inputs that do not fit. */
  shape(inputs: readonly Aval[], attributes: A): Aval | readonly Aval[]
  /**
   * Cotangents of the inputs from those of the outputs (undefined: zero). 'none' where the operation has
   * no derivative or a zero one; 'body' where a fused operation is differentiated through its expansion.
   */
  readonly grad:
    | 'none'
    | 'body'
    | ((cotangents: readonly (Tensor | undefined)[], call: Call<A>) => readonly (Tensor | undefined)[])
  /** Sizes that must not be negative, with what to say if they are; for sizes known only when the program runs. */
  conditions?(inputs: readonly Aval[], attributes: A): readonly (readonly [dim: Dim, text: string])[]
  /** The operation is no more than its body: two calls may have different bodies. Its body is what is printed. */
  readonly transparent?: boolean
  /** Inputs that an output may overwrite when the fused operator runs: output index -> input index. */
  readonly overwrites?: Readonly<Record<number, number>>
  /**
   * Emits ONNX nodes and gives the values of the outputs, undefined for one that the emitter does not need. A fused
   * operation may answer undefined: not on this provider; its body is emitted.
   */
  onnx(emitter: Emitter, inputs: readonly Value[], call: Call<A>): readonly (Value | undefined)[] | undefined
  /** Plain JavaScript reference, for tests. Fused operations have none: their body defines them. */
  evaluate?(
    inputs: readonly NdArray[],
    attributes: A,
    outputs: readonly { readonly shape: readonly number[]; readonly dtype: DType }[],
    /** Values of the axis symbols, for operations with a body. */
    bindings: Bindings,
  ): readonly NdArray[]
}

/** A primitive, unlike a fused operation, can evaluate itself and always has an ONNX form. */
export type Primitive<A = Attributes> = Op<A> & Required<Pick<Op<A>, 'evaluate'>>

/** Inputs that do not fit an operation. */
export class ShapeError extends Error {
  override name = 'ShapeError'
}
