/**
 * Traced arrays. A `Tensor` is an immutable handle on a node of a graph: an input of the function being
 * traced, a concrete value, or one output of an operation. Nothing is computed until a graph is compiled;
 * there is no ambient trace, so tracing nests and is safe across asynchronous code.
 */
import {
  addDims,
  type Bindings,
  type Dim,
  divideDims,
  evaluateShape,
  type Shape,
  sameDim,
  sameShape,
  showShape,
  sizeOf,
} from './dim.ts'
import { type DType, decode, encode, isFloat, type TypedArray, typedArray } from './dtype.ts'
import type { Attributes, Aval, Call, Op } from './op.ts'
import { ShapeError } from './op.ts'
import { type PrimitiveAttributes, type PrimitiveName, primitives } from './primitives/index.ts'
import type { MatmulAttributes, ScatterMode } from './primitives/linear.ts'
import { HostStorage, type Storage } from './storage.ts'

export type Source =
  | { readonly kind: 'input'; readonly name: string }
  /** `literal`: a number written in the program text, part of the graph rather than of its data. */
  | { readonly kind: 'value'; readonly storage: Storage; readonly literal: boolean }
  | { readonly kind: 'call'; readonly call: Call; readonly index: number }

/** An array, or a number that takes the dtype of the array beside it. */
export type Operand = Tensor | number
export type AxisOptions = { readonly keep?: boolean }

let created = 0

export class Tensor implements Aval {
  readonly shape: Shape
  readonly dtype: DType
  readonly source: Source
  /** Order of creation: inputs are always older than the call that uses them. */
  readonly id: number

  constructor(shape: Shape, dtype: DType, source: Source) {
    this.shape = shape
    this.dtype = dtype
    this.source = source
    this.id = created++
  }

  get rank(): number {
    return this.shape.length
  }

  toString(): string {
    return `${this.dtype}${showShape(this.shape)}`
  }

  // Elementwise. Binary operations broadcast; dtypes must agree.

  neg(): Tensor {
    return primitive('neg', [this], {})
  }
  abs(): Tensor {
    return primitive('abs', [this], {})
  }
  sign(): Tensor {
    return primitive('sign', [this], {})
  }
  exp(): Tensor {
    return primitive('exp', [this], {})
  }
  log(): Tensor {
    return primitive('log', [this], {})
  }
  sqrt(): Tensor {
    return primitive('sqrt', [this], {})
  }
  reciprocal(): Tensor {
    return primitive('reciprocal', [this], {})
  }
  sin(): Tensor {
    return primitive('sin', [this], {})
  }
  cos(): Tensor {
    return primitive('cos', [this], {})
  }
  tanh(): Tensor {
    return primitive('tanh', [this], {})
  }
  erf(): Tensor {
    return primitive('erf', [this], {})
  }
  sigmoid(): Tensor {
    return primitive('sigmoid', [this], {})
  }
  floor(): Tensor {
    return primitive('floor', [this], {})
  }
  ceil(): Tensor {
    return primitive('ceil', [this], {})
  }
  /** To the nearest integer, half to even. */
  round(): Tensor {
    return primitive('round', [this], {})
  }
  isNaN(): Tensor {
    return primitive('isNaN', [this], {})
  }
  not(): Tensor {
    return primitive('not', [this], {})
  }
  add(other: Operand): Tensor {
    return primitive('add', [this, this.like(other)], {})
  }
  sub(other: Operand): Tensor {
    return primitive('sub', [this, this.like(other)], {})
  }
  mul(other: Operand): Tensor {
    return primitive('mul', [this, this.like(other)], {})
  }
  /** Integers divide towards zero. */
  div(other: Operand): Tensor {
    return primitive('div', [this, this.like(other)], {})
  }
  pow(other: Operand): Tensor {
    return primitive('pow', [this, this.like(other)], {})
  }
  /** Integer remainder with the sign of the divisor. */
  mod(other: Operand): Tensor {
    return primitive('mod', [this, this.like(other)], {})
  }
  bitXor(other: Operand): Tensor {
    return primitive('bitXor', [this, this.like(other)], {})
  }
  maximum(other: Operand): Tensor {
    return primitive('maximum', [this, this.like(other)], {})
  }
  minimum(other: Operand): Tensor {
    return primitive('minimum', [this, this.like(other)], {})
  }
  equal(other: Operand): Tensor {
    return primitive('equal', [this, this.like(other)], {})
  }
  less(other: Operand): Tensor {
    return primitive('less', [this, this.like(other)], {})
  }
  lessEqual(other: Operand): Tensor {
    return primitive('lessEqual', [this, this.like(other)], {})
  }
  greater(other: Operand): Tensor {
    return primitive('less', [this.like(other), this], {})
  }
  greaterEqual(other: Operand): Tensor {
    return primitive('lessEqual', [this.like(other), this], {})
  }
  and(other: Tensor): Tensor {
    return primitive('and', [this, other], {})
  }
  or(other: Tensor): Tensor {
    return primitive('or', [this, other], {})
  }
  /** Elements of `yes` where this boolean array holds, of `no` elsewhere. One of them must be an array. */
  where(yes: Operand, no: Operand): Tensor {
    const typed = yes instanceof Tensor ? yes : no
    if (!(typed instanceof Tensor)) throw new TypeError('where: one of the two choices must be an array')
    return primitive('where', [this, typed.like(yes), typed.like(no)], {})
  }
  cast(to: DType): Tensor {
    return to === this.dtype ? this : primitive('cast', [this], { to })
  }

  // Reductions. Axes count from the front, or from the back when negative; all axes by default.

  sum(axes?: number | readonly number[], options?: AxisOptions): Tensor {
    return primitive('sum', [this], this.#reduction(axes, options))
  }
  max(axes?: number | readonly number[], options?: AxisOptions): Tensor {
    return primitive('max', [this], this.#reduction(axes, options))
  }
  min(axes?: number | readonly number[], options?: AxisOptions): Tensor {
    return primitive('min', [this], this.#reduction(axes, options))
  }
  prod(axes?: number | readonly number[], options?: AxisOptions): Tensor {
    return primitive('prod', [this], this.#reduction(axes, options))
  }
  mean(axes?: number | readonly number[], options?: AxisOptions): Tensor {
    if (!isFloat(this.dtype)) throw new ShapeError(`mean: takes float arrays, got ${this.dtype}; cast it`)
    const attributes = this.#reduction(axes, options)
    const count = sizeOf(attributes.axes.map((axis) => this.shape[axis]!))
    const sum = primitive('sum', [this], attributes)
    return typeof count === 'number' ? sum.mul(1 / count) : sum.div(size(count, this.dtype))
  }
  argMax(axis = -1): Tensor {
    return primitive('argMax', [this], { axis: this.axis(axis) })
  }
  /** The k largest elements of an axis, descending, and their i32 indices. */
  topK(k: number, axis = -1): { values: Tensor; indices: Tensor } {
    const [values, indices] = apply(primitives.topK, [this], { axis: this.axis(axis), k })
    return { values: values!, indices: indices! }
  }
  cumSum(axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}): Tensor {
    const { exclusive = false, reverse = false } = options
    return primitive('cumSum', [this], { axis: this.axis(axis), exclusive, reverse })
  }

  // Layout.

  /** One axis may be -1: it takes what is left. */
  reshape(shape: Shape): Tensor {
    const open = shape.indexOf(-1)
    let target = shape
    if (open >= 0) {
      const rest = divideDims(sizeOf(this.shape), sizeOf(shape.filter((_, i) => i !== open)))
      if (rest === undefined)
        throw new ShapeError(`reshape: ${showShape(this.shape)} does not divide into ${showShape(shape)}`)
      target = shape.with(open, rest)
    }
    return sameShape(target, this.shape) ? this : primitive('reshape', [this], { shape: target })
  }
  /** Axes in a new order; by default the last two are swapped. */
  transpose(order?: readonly number[]): Tensor {
    const axes = this.shape.map((_, i) => i)
    const last = [...axes.slice(0, -2), this.rank - 1, this.rank - 2]
    return primitive('transpose', [this], { order: (order ?? last).map((axis) => this.axis(axis)) })
  }
  broadcastTo(shape: Shape): Tensor {
    return sameShape(shape, this.shape) ? this : primitive('broadcastTo', [this], { shape })
  }
  /** Sums the axes that broadcasting to this array's shape has added or widened: the transpose of broadcasting. */
  sumTo(shape: Shape): Tensor {
    if (sameShape(shape, this.shape)) return this
    const skip = this.rank - shape.length
    const axes = this.shape.flatMap((dim, i) =>
      i < skip || (shape[i - skip] === 1 && !sameDim(dim, 1)) ? [i] : [],
    )
    return this.sum(axes).reshape(shape)
  }
  /** A new axis of size 1 before `axis` (-1: at the end). */
  expandDims(axis: number): Tensor {
    const at = axis < 0 ? this.rank + 1 + axis : axis
    if (!Number.isInteger(at) || at < 0 || at > this.rank)
      throw new ShapeError(`expandDims: axis ${axis} outside shape ${showShape(this.shape)}`)
    return this.reshape(this.shape.toSpliced(at, 0, 1))
  }
  /** Elements `start` to `end` (exclusive) of an axis; negative numbers count from its end. */
  slice(axis: number, start: Dim, end?: Dim): Tensor {
    const at = this.axis(axis)
    const length = this.shape[at]!
    const place = (dim: Dim): Dim => (typeof dim === 'number' && dim < 0 ? addDims(length, dim) : dim)
    const [from, to] = [place(start), end === undefined ? length : place(end)]
    return from === 0 && sameDim(to, length)
      ? this
      : primitive('slice', [this], { axis: at, start: from, end: to })
  }
  /** Parts of an axis, of given sizes that add up to its own. */
  split(axis: number, sizes: readonly Dim[]): Tensor[] {
    const whole = this.shape[this.axis(axis)]!
    if (!sameDim(sizes.reduce(addDims, 0), whole))
      throw new ShapeError(`split: [${sizes.join(', ')}] do not add up to ${whole}, axis ${axis} of ${this}`)
    let start: Dim = 0
    return sizes.map((length) => {
      const end = addDims(start, length)
      const part = this.slice(axis, start, end)
      start = end
      return part
    })
  }
  pad(axis: number, before: Dim, after: Dim, value = 0): Tensor {
    return before === 0 && after === 0
      ? this
      : primitive('pad', [this], { axis: this.axis(axis), before, after, value })
  }
  concat(others: readonly Tensor[], axis: number): Tensor {
    return others.length === 0 ? this : primitive('concat', [this, ...others], { axis: this.axis(axis) })
  }

  // Products and indexing.

  matmul(other: Tensor, options: Partial<MatmulAttributes> = {}): Tensor {
    const { transposeA = false, transposeB = false, alpha = 1 } = options
    return primitive('matmul', [this, other], { transposeA, transposeB, alpha })
  }
  /** Rows of `axis` at `indices` (i32 or i64, any shape, in range): an embedding look-up for axis 0. */
  gather(indices: Tensor, axis = 0): Tensor {
    return primitive('gather', [this, indices], { axis: this.axis(axis) })
  }
  scatter(indices: Tensor, updates: Tensor, axis: number, mode: ScatterMode): Tensor {
    return primitive('scatter', [this, indices, updates], { axis: this.axis(axis), mode })
  }
  /** One element per index along `axis`; `indices` has the rank of this array. */
  gatherElements(indices: Tensor, axis: number): Tensor {
    return primitive('gatherElements', [this, indices], { axis: this.axis(axis) })
  }
  scatterElements(indices: Tensor, updates: Tensor, axis: number, mode: ScatterMode): Tensor {
    return primitive('scatterElements', [this, indices, updates], { axis: this.axis(axis), mode })
  }

  // Differentiation.

  stopGradient(): Tensor {
    return primitive('stopGradient', [this], {})
  }
  identity(): Tensor {
    return primitive('identity', [this], {})
  }
  /** This array, computed only after `token`. */
  after(token: Tensor): Tensor {
    return primitive('barrier', [this, token], {})
  }

  // Constants and values.

  /** A number as a scalar of this dtype. */
  like(value: Operand): Tensor {
    return value instanceof Tensor ? value : scalar(value, this.dtype)
  }
  zero(): Tensor {
    return scalar(0, this.dtype)
  }
  /** `axis` from the front; throws where there is no such axis. */
  axis(axis: number): number {
    const at = axis < 0 ? axis + this.rank : axis
    if (!Number.isInteger(at) || at < 0 || at >= this.rank)
      throw new ShapeError(`axis ${axis} outside shape ${showShape(this.shape)}`)
    return at
  }
  /** The contents of a concrete tensor. */
  get storage(): Storage {
    if (this.source.kind !== 'value')
      throw new Error(`this ${this} is part of a graph and has no contents; compute it with an engine first`)
    return this.source.storage
  }
  /** The elements of a concrete tensor, row-major: a view, not a copy. */
  get data(): TypedArray {
    return this.storage.read()
  }
  /** The elements of a concrete tensor that may be on a device; after this, `data` has them too. */
  async load(): Promise<TypedArray> {
    await this.storage.load?.()
    return this.data
  }
  /** The only element of a concrete one-element tensor. */
  item(): number {
    if (this.data.length !== 1) throw new Error(`item: ${this} has ${this.data.length} elements`)
    return decode(this.data[0]!, this.dtype)
  }
  /** The shape of a concrete tensor, in numbers. */
  get sizes(): readonly number[] {
    return this.source.kind === 'value' ? this.source.storage.shape : evaluateShape(this.shape, noBindings)
  }
  dispose(): void {
    this.storage.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  #reduction(axes: number | readonly number[] | undefined, options: AxisOptions = {}) {
    const list = axes === undefined ? this.shape.map((_, i) => i) : typeof axes === 'number' ? [axes] : axes
    const normal = [...new Set(list.map((axis) => this.axis(axis)))].sort((a, b) => a - b)
    return { axes: normal, keep: options.keep ?? false }
  }
}

const noBindings: Bindings = new Map()

/** Applies an operation: checks shapes, makes the node, gives its outputs. */
export function apply<A>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attributes: A,
  expansion?: readonly Tensor[],
): Tensor[] {
  const types = op.shape(inputs, attributes)
  const outputs: Tensor[] = []
  const call = { op, inputs, attributes, outputs, ...(expansion && { expansion }) } as unknown as Call
  for (const { shape, dtype } of 'dtype' in types ? [types as Aval] : types)
    outputs.push(new Tensor(shape, dtype, { kind: 'call', call, index: outputs.length }))
  return outputs
}

function primitive<P extends PrimitiveName>(
  name: P,
  inputs: readonly Tensor[],
  attributes: PrimitiveAttributes[P],
): Tensor {
  return apply(primitives[name] as unknown as Op<PrimitiveAttributes[P]>, inputs, attributes)[0]!
}

/**
 * A concrete tensor over `data` (not copied), or of the numbers in a plain array. The dtype follows from the
 * array's type: Uint8Array is u8.
 */
export function tensor(
  data: TypedArray | readonly number[],
  shape?: readonly number[],
  dtype?: DType,
): Tensor {
  const type = dtype ?? (isTypedArray(data) ? dtypeOf(data) : 'f32')
  const array = isTypedArray(data) ? data : typedArray(type, data.length)
  if (!isTypedArray(data))
    data.forEach((value, i) => {
      array[i] = encode(value, type) as never
    })
  return fromStorage(new HostStorage(type, shape ?? [array.length], array))
}

export const fromStorage = (storage: Storage): Tensor =>
  new Tensor(storage.shape, storage.dtype, { kind: 'value', storage, literal: false })

/** A scalar that belongs to the program text. */
export function scalar(value: number, dtype: DType = 'f32'): Tensor {
  const data = typedArray(dtype, 1)
  data[0] = encode(value, dtype) as never
  const storage = new HostStorage(dtype, [], data)
  return new Tensor([], dtype, { kind: 'value', storage, literal: true })
}

export const zeros = (shape: readonly number[], dtype: DType = 'f32'): Tensor =>
  tensor(
    typedArray(
      dtype,
      shape.reduce((a, b) => a * b, 1),
    ),
    shape,
    dtype,
  )

export const iota = (size: Dim, dtype: DType = 'i32'): Tensor => primitive('iota', [], { size, dtype })
/** The size of an axis as a scalar array. */
export const size = (dim: Dim, dtype: DType = 'f32'): Tensor =>
  typeof dim === 'number' ? scalar(dim, dtype) : primitive('size', [], { size: dim, dtype })
export const concat = (parts: readonly [Tensor, ...Tensor[]], axis: number): Tensor =>
  parts[0].concat(parts.slice(1), axis)
/** An input of a graph being traced. */
export const placeholder = (name: string, shape: Shape, dtype: DType): Tensor =>
  new Tensor(shape, dtype, { kind: 'input', name })

const isTypedArray = (data: TypedArray | readonly number[]): data is TypedArray => ArrayBuffer.isView(data)

function dtypeOf(data: TypedArray): DType {
  if (data instanceof Float32Array) return 'f32'
  if (data instanceof Int32Array) return 'i32'
  if (data instanceof Float64Array) return 'f64'
  if (data instanceof BigInt64Array) return 'i64'
  if (data instanceof Uint8Array) return 'u8'
  if (data instanceof Int8Array) return 'i8'
  throw new TypeError('a Uint16Array holds f16 or bf16: say which')
}

export type { Attributes }
