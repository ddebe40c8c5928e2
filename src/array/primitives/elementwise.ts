/** Primitives that work element by element, with NumPy broadcasting. */
import { broadcastShapes, showShape } from '../dim.ts'
import { type DType, isFloat, isInteger, rounded } from '../dtype.ts'
import { type Aval, type Call, type NdArray, type Primitive, ShapeError } from '../op.ts'
import type { Tensor } from '../tensor.ts'
import { broadcastIndex, element } from './reference.ts'

type None = Record<never, never>
type Floats = 'float' | 'number' | 'bool' | 'any' | 'integer'

const accepts: Readonly<Record<Floats, (dtype: DType) => boolean>> = {
  float: isFloat,
  number: (dtype) => isFloat(dtype) || isInteger(dtype),
  integer: isInteger,
  bool: (dtype) => dtype === 'bool',
  any: () => true,
}

function check(name: string, kind: Floats, inputs: readonly Aval[]): void {
  for (const { dtype } of inputs)
    if (!accepts[kind](dtype)) throw new ShapeError(`${name}: takes ${kind} arrays, got ${dtype}`)
}

/** `derivative(g, x, y)` is the cotangent of x, where y = f(x). */
function unary(
  name: string,
  onnx: string,
  kind: Floats,
  f: (x: number) => number,
  derivative: 'none' | ((g: Tensor, x: Tensor, y: Tensor) => Tensor),
  result?: DType,
): Primitive<None> {
  return {
    name,
    shape([x]) {
      check(name, kind, [x!])
      return { shape: x!.shape, dtype: result ?? x!.dtype }
    },
    grad:
      derivative === 'none'
        ? 'none'
        : ([g], { inputs, outputs }) => [g && derivative(g, inputs[0]!, outputs[0]!)],
    onnx: (e, [x]) => [e.node(onnx, [x!])],
    evaluate: ([x]) => [{ shape: x!.shape, data: x!.data.map(f) }],
  }
}

/** `derivatives` give the cotangents of both inputs before they are summed over broadcast axes. */
function binary(
  name: string,
  onnx: string,
  kind: Floats,
  f: (x: number, y: number) => number,
  derivatives: 'none' | ((g: Tensor, x: Tensor, y: Tensor, out: Tensor) => [Tensor, Tensor]),
  result?: DType,
): Primitive<None> {
  return {
    name,
    shape(inputs) {
      check(name, kind, inputs)
      const [x, y] = inputs as [Aval, Aval]
      if (x.dtype !== y.dtype)
        throw new ShapeError(`${name}: dtypes differ: ${x.dtype} and ${y.dtype}; cast one of them`)
      const shape = broadcastShapes(x.shape, y.shape)
      if (!shape)
        throw new ShapeError(
          `${name}: shapes ${showShape(x.shape)} and ${showShape(y.shape)} do not broadcast`,
        )
      return { shape, dtype: result ?? x.dtype }
    },
    grad:
      derivatives === 'none'
        ? 'none'
        : ([g], { inputs: [x, y], outputs }) => {
            if (!g) return [undefined, undefined]
            const [dx, dy] = derivatives(g, x!, y!, outputs[0]!)
            return [dx.sumTo(x!.shape), dy.sumTo(y!.shape)]
          },
    onnx: (e, inputs) => [e.node(onnx, inputs)],
    evaluate: ([x, y], _, [out]) => [mapBroadcast([x!, y!], out!.shape, (v) => f(v[0]!, v[1]!))],
  }
}

function mapBroadcast(
  inputs: readonly NdArray[],
  shape: readonly number[],
  f: (values: number[]) => number,
): NdArray {
  const readers = inputs.map((input) => broadcastIndex(input.shape, shape))
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1))
  const values = inputs.map(() => 0)
  for (let i = 0; i < data.length; i++) {
    for (let k = 0; k < inputs.length; k++) values[k] = element(inputs[k]!, readers[k]!(i))
    data[i] = f(values)
  }
  return { shape, data }
}

/** Error function by its Maclaurin series (|x| < 3) and continued fraction: exact to float64 rounding. */
function erf(x: number): number {
  const a = Math.abs(x)
  if (a > 6) return Math.sign(x)
  if (a < 3) {
    let term = x
    let sum = x
    for (let n = 1; n < 120; n++) {
      term *= (-x * x) / n
      sum += term / (2 * n + 1)
    }
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  let fraction = 0
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction)
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)))
}

/** Rounds half to even, as ONNX and PyTorch do. */
const roundHalfEven = (x: number): number => {
  const floor = Math.floor(x)
  const half = x - floor
  return half < 0.5 ? floor : half > 0.5 ? floor + 1 : floor % 2 === 0 ? floor : floor + 1
}

/** Ties of maximum and minimum share the cotangent equally, so that the sum is kept. */
const shareTies = (g: Tensor, chosen: Tensor, other: Tensor): Tensor =>
  g.mul(chosen.less(other).cast(g.dtype).add(chosen.lessEqual(other).cast(g.dtype)).mul(0.5))

export const elementwise = {
  neg: unary(
    'neg',
    'Neg',
    'number',
    (x) => -x,
    (g) => g.neg(),
  ),
  abs: unary('abs', 'Abs', 'number', Math.abs, (g, x) => g.mul(x.sign())),
  sign: unary('sign', 'Sign', 'number', Math.sign, 'none'),
  exp: unary('exp', 'Exp', 'float', Math.exp, (g, _, y) => g.mul(y)),
  log: unary('log', 'Log', 'float', Math.log, (g, x) => g.div(x)),
  sqrt: unary('sqrt', 'Sqrt', 'float', Math.sqrt, (g, _, y) => g.mul(0.5).div(y)),
  reciprocal: unary(
    'reciprocal',
    'Reciprocal',
    'float',
    (x) => 1 / x,
    (g, _, y) => g.mul(y).mul(y).neg(),
  ),
  sin: unary('sin', 'Sin', 'float', Math.sin, (g, x) => g.mul(x.cos())),
  cos: unary('cos', 'Cos', 'float', Math.cos, (g, x) => g.mul(x.sin()).neg()),
  tanh: unary('tanh', 'Tanh', 'float', Math.tanh, (g, _, y) => g.sub(g.mul(y).mul(y))),
  erf: {
    ...unary('erf', 'Erf', 'float', erf, (g, x) => g.mul(x.mul(x).neg().exp()).mul(2 / Math.sqrt(Math.PI))),
    // ONNX Runtime has no erf in double precision, and single would pass for double unnoticed.
    onnx: (e, [x], { inputs: [input] }) => (input!.dtype === 'f64' ? undefined : [e.node('Erf', [x!])]),
  } as Primitive<None>,
  sigmoid: {
    ...unary(
      'sigmoid',
      'Sigmoid',
      'float',
      (x) => 1 / (1 + Math.exp(-x)),
      (g, _, y) => g.mul(y.sub(y.mul(y))),
    ),
    // ONNX Runtime fuses x * Sigmoid(x) into QuickGelu, which it then does not have for doubles.
    onnx: (e, [x], { inputs: [input] }) => [
      input!.dtype === 'f64'
        ? e.node('Reciprocal', [e.node('Add', [e.node('Exp', [e.node('Neg', [x!])]), e.scalar(1, 'f64')])])
        : e.node('Sigmoid', [x!]),
    ],
  } as Primitive<None>,
  floor: unary('floor', 'Floor', 'float', Math.floor, 'none'),
  ceil: unary('ceil', 'Ceil', 'float', Math.ceil, 'none'),
  round: unary('round', 'Round', 'float', roundHalfEven, 'none'),
  isNaN: unary('isNaN', 'IsNaN', 'float', (x) => Number(Number.isNaN(x)), 'none', 'bool'),
  not: unary('not', 'Not', 'bool', (x) => 1 - x, 'none'),

  add: binary(
    'add',
    'Add',
    'number',
    (x, y) => x + y,
    (g) => [g, g],
  ),
  sub: binary(
    'sub',
    'Sub',
    'number',
    (x, y) => x - y,
    (g) => [g, g.neg()],
  ),
  mul: binary(
    'mul',
    'Mul',
    'number',
    (x, y) => x * y,
    (g, x, y) => [g.mul(y), g.mul(x)],
  ),
  div: {
    ...binary(
      'div',
      'Div',
      'number',
      (x, y) => x / y,
      (g, _, y, out) => {
        const dx = g.div(y)
        return [dx, dx.mul(out).neg()]
      },
    ),
    // Integers divide towards zero, as in ONNX.
    evaluate: ([x, y], _, [out]) => [
      mapBroadcast([x!, y!], out!.shape, ([a, b]) => (isInteger(out!.dtype) ? Math.trunc(a! / b!) : a! / b!)),
    ],
  } as Primitive<None>,
  pow: binary(
    'pow',
    'Pow',
    'float',
    (x, y) => x ** y,
    (g, x, y, out) => [
      g.mul(y).mul(x.pow(y.sub(1))),
      // d/dy x^y = x^y ln x; where x is 0 the limit for y > 0 is 0.
      g.mul(x.equal(0).where(out.mul(0), out.mul(x.equal(0).where(x.add(1), x).log()))),
    ],
  ),
  mod: binary('mod', 'Mod', 'integer', (x, y) => x - Math.floor(x / y) * y, 'none'),
  maximum: binary('maximum', 'Max', 'number', Math.max, (g, x, y) => [
    shareTies(g, y, x),
    shareTies(g, x, y),
  ]),
  minimum: binary('minimum', 'Min', 'number', Math.min, (g, x, y) => [
    shareTies(g, x, y),
    shareTies(g, y, x),
  ]),
  bitXor: binary('bitXor', 'BitwiseXor', 'integer', (x, y) => Number(BigInt(x) ^ BigInt(y)), 'none'),
  equal: binary('equal', 'Equal', 'any', (x, y) => Number(x === y), 'none', 'bool'),
  less: binary('less', 'Less', 'number', (x, y) => Number(x < y), 'none', 'bool'),
  lessEqual: binary('lessEqual', 'LessOrEqual', 'number', (x, y) => Number(x <= y), 'none', 'bool'),
  and: binary('and', 'And', 'bool', (x, y) => x * y, 'none'),
  or: binary('or', 'Or', 'bool', (x, y) => Math.max(x, y), 'none'),

  where: {
    name: 'where',
    shape(inputs) {
      const [condition, x, y] = inputs as [Aval, Aval, Aval]
      if (condition.dtype !== 'bool')
        throw new ShapeError(`where: condition must be bool, got ${condition.dtype}`)
      if (x.dtype !== y.dtype) throw new ShapeError(`where: dtypes differ: ${x.dtype} and ${y.dtype}`)
      const both = broadcastShapes(x.shape, y.shape)
      const shape = both && broadcastShapes(condition.shape, both)
      if (!shape)
        throw new ShapeError(
          `where: shapes ${inputs.map((i) => showShape(i.shape)).join(', ')} do not broadcast`,
        )
      return { shape, dtype: x.dtype }
    },
    grad: ([g], { inputs: [condition, x, y] }) =>
      g
        ? [
            undefined,
            condition!.where(g, g.zero()).sumTo(x!.shape),
            condition!.where(g.zero(), g).sumTo(y!.shape),
          ]
        : [undefined, undefined, undefined],
    onnx(e, [condition, x, y], { outputs: [out] }) {
      // ONNX Runtime's Where has neither booleans nor bytes with a sign.
      if (out!.dtype === 'bool') {
        const [yes, no] = [e.node('And', [condition!, x!]), e.node('And', [e.node('Not', [condition!]), y!])]
        return [e.node('Or', [yes, no])]
      }
      if (out!.dtype !== 'i8') return [e.node('Where', [condition!, x!, y!])]
      const [wideX, wideY] = [x!, y!].map((value) => e.node('Cast', [value], { to: { dtype: 'i32' } }))
      const chosen = e.node('Where', [condition!, wideX, wideY])
      return [e.node('Cast', [chosen], { to: { dtype: 'i8' } })]
    },
    evaluate: (inputs, _, [out]) => [mapBroadcast(inputs, out!.shape, ([c, x, y]) => (c ? x! : y!))],
  } satisfies Primitive<None>,

  cast: {
    name: 'cast',
    shape: ([x], { to }) => ({ shape: x!.shape, dtype: to }),
    grad: ([g], { inputs: [x] }: Call<{ to: DType }>) => [
      g && isFloat(x!.dtype) ? g.cast(x!.dtype) : undefined,
    ],
    onnx: (e, [x], { attributes }) => [e.node('Cast', [x!], { to: { dtype: attributes.to } })],
    evaluate: ([x], { to }) => [{ shape: x!.shape, data: x!.data.map((value) => rounded(value, to)) }],
  } satisfies Primitive<{ to: DType }>,
}
