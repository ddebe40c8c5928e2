/** What each primitive is tried with. A primitive without cases does not compile. */
import {
  concat,
  type DType,
  iota,
  type PrimitiveName,
  type Shape,
  scalar,
  scan,
  size,
  type Tensor,
  tensor,
} from '../../src/array/index.ts'
import { as, type Case, floats, integers } from './support.ts'

type Unary = (x: Tensor) => Tensor
type Binary = (x: Tensor, y: Tensor) => Tensor
const matrix = [['n', null]]

const unary = (
  f: Unary,
  inputs: (shape: readonly number[]) => Tensor,
  others: readonly DType[] = [],
): Case[] => [
  { f: (x) => f(x!), inputs: (n) => [inputs([n, 3])], axes: matrix, sizes: [4, 1, 0] },
  { f: (x) => f(x!), inputs: () => [inputs([])] },
  { title: 'used twice', f: (x) => f(x!).mul(x!.cast(f(x!).dtype)), inputs: () => [inputs([5])] },
  ...others.map((dtype): Case => ({ f: (x) => f(x!), inputs: () => [as(inputs([2, 3]), dtype)] })),
]
/** For results that are no numbers or have no slope. */
const plain = (
  f: Unary,
  inputs: (shape: readonly number[]) => Tensor,
  others: readonly DType[] = [],
): Case[] =>
  unary(f, inputs, others)
    .filter(({ title }) => !title)
    .map((item) => ({ ...item, differences: false }))

const shapes: [name: string, x: (n: number) => number[], y: (n: number) => number[]][] = [
  ['same', (n) => [n, 3], (n) => [n, 3]],
  ['row', (n) => [n, 3], () => [3]],
  ['column', (n) => [n, 1], () => [1, 3]],
  ['widened on both sides', (n) => [2, 1, n], () => [4, 1]],
  ['scalar left', () => [], (n) => [n, 2]],
  ['scalar right', (n) => [n, 2], () => []],
]
const namesOf = (shape: (n: number) => number[]) => shape(9).map((dim) => (dim === 9 ? 'n' : null))

const binary = (
  f: Binary,
  make: (shape: readonly number[], seed: number) => Tensor,
  others: readonly DType[] = [],
): Case[] => [
  ...shapes.map(
    ([title, x, y]): Case => ({
      title,
      f: (a, b) => f(a!, b!),
      inputs: (n) => [make(x(n), 1), make(y(n), 2)],
      axes: [namesOf(x), namesOf(y)],
      sizes: [3, 1, 0],
    }),
  ),
  { title: 'of itself', f: (x) => f(x!, x!), inputs: () => [make([4], 3)], differences: false },
  ...others.map(
    (dtype): Case => ({
      title: dtype,
      f: (a, b) => f(a!, b!),
      inputs: () => [as(make([2, 3], 1), dtype), as(make([3], 2), dtype)],
    }),
  ),
]
const plainBinary = (...args: Parameters<typeof binary>): Case[] =>
  binary(...args).map((item) => ({ ...item, differences: false }))

/** h ← a h + b: the last h, and each h times its b. */
function recurrence(a: Tensor, b: Tensor, h: Tensor, reverse = false): Tensor[] {
  const step = (h: Tensor, [a, b]: readonly [Tensor, Tensor]) => {
    const next = a.mul(h).add(b)
    return [next, next.mul(b)] as const
  }
  const { state, ys } = scan(step, h, [a, b] as const, { reverse })
  return [state, ys]
}

const any = (shape: readonly number[], seed = 1) => floats(shape, seed)
const positive = (shape: readonly number[], seed = 1) => floats(shape, seed, 0.2, 3)
const whole = (shape: readonly number[], seed = 1) => integers(shape, 'i32', -7, 8, seed)
const wholeNotZero = (shape: readonly number[], seed = 1) => {
  const x = integers(shape, 'i32', -7, 7, seed)
  return tensor(
    Int32Array.from(x.data as Int32Array, (v) => (v >= 0 ? v + 1 : v)),
    shape,
  )
}
const masks = (shape: readonly number[], seed = 1) => integers(shape, 'bool', 0, 2, seed)
const numbers: readonly DType[] = ['f64', 'i32', 'i64']

const reductions = (
  f: (x: Tensor, axes?: number | number[], options?: { keep?: boolean }) => Tensor,
  make: (shape: readonly number[]) => Tensor,
): Case[] => [
  { title: 'all', f: (x) => f(x!), inputs: (n) => [make([n, 3])], axes: matrix, sizes: [4, 1, 0] },
  { title: 'last', f: (x) => f(x!, -1), inputs: (n) => [make([n, 3])], axes: matrix, sizes: [4, 1, 0] },
  { title: 'symbolic axis', f: (x) => f(x!, 0), inputs: (n) => [make([n, 3])], axes: matrix, sizes: [4, 1] },
  {
    title: 'two axes kept',
    f: (x) => f(x!, [-1, 0], { keep: true }),
    inputs: (n) => [make([n, 2, 3])],
    axes: [['n', null, null]],
    sizes: [3, 1],
  },
  { title: 'no axes', f: (x) => f(x!, []), inputs: () => [make([2, 1])] },
  { title: 'axis of size 1', f: (x) => f(x!, 1), inputs: () => [make([2, 1, 3])] },
  { title: 'scalar', f: (x) => f(x!), inputs: () => [make([])] },
  ...numbers.map(
    (dtype): Case => ({ title: dtype, f: (x) => f(x!, 1), inputs: () => [as(make([3, 4]), dtype)] }),
  ),
]

const indices = (shape: readonly number[], high: number, dtype: DType = 'i32', low = 0) =>
  integers(shape, dtype, low, high, 7)

/** Indices without repetition, for writes. */
const distinct = (
  values: readonly number[],
  shape: readonly number[] = [values.length],
  dtype: DType = 'i32',
) => tensor([...values], shape, dtype)

const reshapeTo =
  (shape: (n: Tensor['shape'][number]) => Shape) =>
  (x?: Tensor): Tensor =>
    x!.reshape(shape(x!.shape[0]!))

export const cases: { readonly [P in PrimitiveName]: readonly Case[] } = {
  neg: unary((x) => x.neg(), any, ['f64', 'i32', 'i64', 'i8']),
  abs: unary((x) => x.abs(), any, [...numbers, 'i8']),
  sign: plain((x) => x.sign(), any, numbers),
  exp: unary((x) => x.exp(), any, ['f64']),
  log: unary((x) => x.log(), positive, ['f64']),
  sqrt: unary((x) => x.sqrt(), positive, ['f64']),
  reciprocal: unary((x) => x.reciprocal(), positive, ['f64']),
  sin: unary((x) => x.sin(), any, ['f64']),
  cos: unary((x) => x.cos(), any, ['f64']),
  tanh: unary((x) => x.tanh(), any, ['f64']),
  erf: [
    ...unary((x) => x.erf(), any),
    { title: 'tails', f: (x) => x!.erf(), inputs: () => [tensor([-7, -3.5, -3, -2.9, 0, 2.9, 3, 3.5, 7])] },
  ],
  sigmoid: [
    ...unary((x) => x.sigmoid(), any, ['f64']),
    { title: 'tails', f: (x) => x!.sigmoid(), inputs: () => [tensor([-90, -20, 0, 20, 90])] },
  ],
  floor: plain((x) => x.floor(), any, ['f64']),
  ceil: plain((x) => x.ceil(), any, ['f64']),
  round: [
    ...plain((x) => x.round(), any, ['f64']),
    {
      title: 'half to even',
      f: (x) => x!.round(),
      inputs: () => [tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])],
      differences: false,
    },
  ],
  isNaN: [
    ...plain((x) => x.isNaN(), any, ['f64']),
    { title: 'NaN', f: (x) => x!.isNaN(), inputs: () => [tensor([Number.NaN, 1, Number.POSITIVE_INFINITY])] },
  ],
  not: plain((x) => x.not(), masks),

  add: binary((x, y) => x.add(y), any, numbers),
  sub: binary((x, y) => x.sub(y), any, numbers),
  mul: binary((x, y) => x.mul(y), any, numbers),
  div: [
    ...binary((x, y) => x.div(y), positive, ['f64']),
    ...(['i32', 'i64'] as const).map(
      (dtype): Case => ({
        title: `${dtype} towards zero`,
        f: (x, y) => x!.div(y!),
        inputs: () => [tensor([-7, -7, 7, 7, -1], [5], dtype), tensor([2, -2, 2, -2, 3], [5], dtype)],
      }),
    ),
  ],
  pow: [
    ...binary((x, y) => x.pow(y), positive, ['f64']),
    {
      title: 'whole powers of anything',
      f: (x) => x!.pow(3).add(x!.pow(2)).add(x!.pow(1)),
      inputs: () => [tensor([-2, -0.5, 0, 1.5])],
    },
  ],
  mod: [
    ...plainBinary((x, y) => x.mod(y), wholeNotZero, ['i64']),
    {
      title: 'sign of the divisor',
      f: (x, y) => x!.mod(y!),
      inputs: () => [tensor([-7, -7, 7, 7], [4], 'i64'), tensor([3, -3, 3, -3], [4], 'i64')],
    },
  ],
  maximum: binary((x, y) => x.maximum(y), any, numbers),
  minimum: binary((x, y) => x.minimum(y), any, numbers),
  bitXor: plainBinary((x, y) => x.bitXor(y), whole, ['i64']),
  equal: [
    ...plainBinary((x, y) => x.equal(y), whole, ['f32', 'f64', 'i64']),
    { title: 'bool', f: (x, y) => x!.equal(y!), inputs: () => [masks([6]), masks([6], 2)] },
  ],
  less: plainBinary((x, y) => x.less(y), whole, ['f32', 'f64', 'i64']),
  lessEqual: plainBinary((x, y) => x.lessEqual(y), whole, ['f32', 'f64', 'i64']),
  and: plainBinary((x, y) => x.and(y), masks),
  or: plainBinary((x, y) => x.or(y), masks),

  where: [
    {
      title: 'all three broadcast',
      f: (c, x, y) => c!.where(x!, y!),
      inputs: (n) => [masks([n, 1]), any([3]), any([2, 1, 3], 2)],
      axes: [['n', null], undefined, undefined],
      sizes: [3, 1, 0],
    },
    {
      title: 'numbers',
      f: (c, x) => c!.where(x!, -1).add(c!.where(2, x!)),
      inputs: () => [masks([4]), any([4])],
    },
    { title: 'of itself', f: (x) => x!.less(0).where(x!.mul(0.1), x!), inputs: () => [any([5])] },
    ...(['f64', 'i32', 'i64', 'u8', 'i8', 'bool'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (c, x, y) => c!.where(x!, y!),
        inputs: () => [masks([2, 3]), integers([2, 3], dtype, 0, 2, 3), integers([3], dtype, 0, 2, 4)],
      }),
    ),
  ],
  cast: [
    ...(['f64', 'i32', 'i64', 'bool'] as const).map(
      (to): Case => ({
        title: `f32 to ${to}`,
        f: (x) => x!.cast(to),
        inputs: (n) => [tensor([-2.7, -1, 0, 0.4, 1, 2.7].slice(0, n))],
        axes: [['n']],
        sizes: [6, 1, 0],
        differences: to === 'f64',
      }),
    ),
    ...(['i32', 'i64', 'u8', 'i8', 'bool', 'f64'] as const).map(
      (from): Case => ({
        title: `${from} to f32`,
        f: (x) => x!.cast('f32'),
        inputs: () => [integers([5], from, 0, 2)],
        differences: false,
      }),
    ),
    {
      title: 'wraps',
      f: (x) => [x!.cast('i8'), x!.cast('u8')],
      inputs: () => [tensor([-1, 127, 128, 300], [4], 'i32')],
    },
    {
      title: 'f16 and bf16 round',
      f: (x) => [x!.cast('f16').cast('f32'), x!.cast('bf16').cast('f32')],
      inputs: () => [tensor([1 / 3, -65504, 65519, 65520, 1e-7, 6e-8, 2049, 2051, -0.1, 1e-3])],
      differences: false,
    },
    { title: 'chained', f: (x) => x!.cast('i64').cast('i32').cast('bool'), inputs: () => [any([6])] },
  ],

  sum: reductions((x, ...rest) => x.sum(...rest), any),
  max: reductions((x, ...rest) => x.max(...rest), any),
  min: reductions((x, ...rest) => x.min(...rest), any),
  prod: reductions((x, ...rest) => x.prod(...rest), positive),
  argMax: [
    ...(['f32', ...numbers] as const).map(
      (dtype): Case => ({
        f: (x) => x!.argMax(),
        inputs: (n) => [as(any([n, 4]), dtype)],
        axes: matrix,
        sizes: [3, 1, 0],
      }),
    ),
    { title: 'first of equals', f: (x) => x!.argMax(0), inputs: () => [tensor([1, 2, 1, 2], [4, 1])] },
    { title: 'middle axis', f: (x) => x!.argMax(-2), inputs: () => [any([2, 3, 4])] },
  ],
  topK: [
    {
      f: (x) => {
        const { values, indices } = x!.topK(2)
        return [values, indices]
      },
      inputs: (n) => [any([n, 4])],
      axes: matrix,
      sizes: [3, 1],
    },
    { title: 'no rows', f: (x) => Object.values(x!.topK(2)), inputs: () => [any([0, 4])] },
    {
      title: 'both outputs used, values twice, then more',
      f: (x) => {
        const { values, indices } = x!.topK(2, 0)
        const again = x!.gatherElements(indices, 0)
        return [values.mul(values), values.add(again).exp(), x!.mul(values.sum())]
      },
      inputs: () => [any([4, 2])],
    },
    {
      title: 'first of equals',
      f: (x) => Object.values(x!.topK(3)),
      inputs: () => [tensor([1, 2, 2, 1, 2])],
      differences: false,
    },
    ...numbers.map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => Object.values(x!.topK(2, -2)),
        inputs: () => [as(any([3, 2]), dtype)],
      }),
    ),
  ],
  cumSum: [
    ...[{}, { exclusive: true }, { reverse: true }, { exclusive: true, reverse: true }].map(
      (options): Case => ({
        title: JSON.stringify(options),
        f: (x) => x!.cumSum(0, options),
        inputs: (n) => [any([n, 2])],
        axes: matrix,
        sizes: [4, 1, 0],
      }),
    ),
    ...numbers.map(
      (dtype): Case => ({ title: dtype, f: (x) => x!.cumSum(-1), inputs: () => [as(any([2, 3]), dtype)] }),
    ),
  ],

  reshape: [
    {
      title: 'one symbol',
      f: reshapeTo((n) => [n, 2, 3]),
      inputs: (n) => [any([n, 6])],
      axes: matrix,
      sizes: [4, 1, 0],
    },
    {
      title: 'inferred',
      f: (x) => x!.reshape([-1, 2]),
      inputs: (n) => [any([n, 6])],
      axes: matrix,
      sizes: [4, 0],
    },
    {
      title: 'two symbols swapped',
      f: (x) => x!.reshape([x!.shape[1]!, 2, x!.shape[0]!]),
      inputs: (n) => [any([n, 5, 2])],
      axes: [['n', 'm', null]],
      sizes: [3, 1, 0],
    },
    { title: 'empty', f: (x) => x!.reshape([0, 3]), inputs: () => [any([3, 0])] },
    { title: 'scalar', f: (x) => x!.reshape([1, 1]).add(x!.reshape([])), inputs: () => [any([1])] },
    ...(['f64', 'i32', 'i64', 'bool', 'u8'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => x!.reshape([3, 2]),
        inputs: () => [integers([2, 3], dtype, 0, 2)],
      }),
    ),
  ],
  transpose: [
    { f: (x) => x!.transpose(), inputs: (n) => [any([n, 3])], axes: matrix, sizes: [4, 1, 0] },
    { title: 'of three', f: (x) => x!.transpose([2, 0, 1]), inputs: () => [any([2, 3, 4])] },
    { title: 'negative axes', f: (x) => x!.transpose([-1, 0, -2]), inputs: () => [any([2, 1, 4])] },
    { title: 'bool', f: (x) => x!.transpose(), inputs: () => [masks([2, 3])] },
  ],
  broadcastTo: [
    {
      f: (x) => x!.broadcastTo([2, x!.shape[0]!, 3]),
      inputs: (n) => [any([n, 1])],
      axes: matrix,
      sizes: [4, 1, 0],
    },
    { title: 'scalar', f: (x) => x!.broadcastTo([2, 2]), inputs: () => [any([])] },
    {
      title: 'to the size of another',
      f: (x, y) => x!.broadcastTo(y!.shape).mul(y!),
      inputs: (n) => [any([2, 1]), any([2, n], 2)],
      axes: [undefined, [null, 'n']],
      sizes: [3, 1, 0],
    },
    ...(['f64', 'i32', 'i64', 'bool'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => x!.broadcastTo([2, 3]),
        inputs: () => [integers([3], dtype, 0, 2)],
      }),
    ),
  ],
  slice: [
    { f: (x) => x!.slice(1, 1, 3), inputs: (n) => [any([n, 4])], axes: matrix, sizes: [3, 1, 0] },
    {
      title: 'from the end of a symbolic axis',
      f: (x) => x!.slice(0, -1).add(x!.slice(0, 0, 1)),
      inputs: (n) => [any([n, 2])],
      axes: matrix,
      sizes: [3, 1],
    },
    {
      title: 'all but the last',
      f: (x) => x!.slice(0, 0, -1).sub(x!.slice(0, 1)),
      inputs: (n) => [any([n, 2])],
      axes: matrix,
      sizes: [4, 2, 1],
    },
    { title: 'empty', f: (x) => x!.slice(-1, 2, 2), inputs: () => [any([2, 4])] },
    ...(['f64', 'i32', 'i64', 'bool', 'u8'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => x!.slice(-1, 1, -1),
        inputs: () => [integers([2, 4], dtype, 0, 2)],
      }),
    ),
  ],
  pad: [
    { f: (x) => x!.pad(1, 1, 2), inputs: (n) => [any([n, 3])], axes: matrix, sizes: [3, 1, 0] },
    {
      title: 'by symbols',
      f: (x, y) => x!.pad(0, y!.shape[0]!, 1, -1.5),
      inputs: (n) => [any([n, 2]), any([n])],
      axes: [['n', null], ['n']],
      sizes: [3, 1, 0],
    },
    ...(['f64', 'i32', 'i64', 'bool', 'u8'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => x!.pad(-2, 0, 1, 1),
        inputs: () => [integers([2, 2], dtype, 0, 2)],
      }),
    ),
  ],
  concat: [
    {
      f: (x, y) => concat([x!, y!, x!], 0),
      inputs: (n) => [any([n, 2]), any([3, 2], 2)],
      axes: [['n', null], undefined],
      sizes: [2, 1, 0],
    },
    {
      title: 'two symbols, negative axis',
      f: (x, y) => concat([x!, y!], -1),
      inputs: (n) => [any([2, n]), any([2, 5], 2)],
      axes: [
        [null, 'n'],
        [null, 'm'],
      ],
      sizes: [3, 0],
    },
    ...(['f64', 'i32', 'i64', 'bool', 'u8'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => concat([x!, x!], 0),
        inputs: () => [integers([2, 2], dtype, 0, 2)],
      }),
    ),
  ],
  iota: [
    ...(['f32', 'f64', 'i32', 'i64'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => iota(x!.shape[0]!, dtype),
        inputs: (n) => [any([n])],
        axes: [['n']],
        sizes: [5, 1, 0],
      }),
    ),
    {
      title: 'of a sum of sizes, used twice',
      f: (x, y) => iota(concat([x!, y!], 0).shape[0]!, 'f32').mul(concat([x!, y!], 0)),
      inputs: (n) => [any([n]), any([2])],
      axes: [['n'], ['m']],
      sizes: [3, 0],
    },
  ],
  size: [
    ...(['f32', 'f64', 'i32', 'i64'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => size(x!.reshape([-1]).shape[0]!, dtype),
        inputs: (n) => [any([n, 3, 5])],
        axes: [['n', null, 'm']],
        sizes: [4, 1, 0],
      }),
    ),
    { title: 'a mean', f: (x) => x!.mean(), inputs: (n) => [any([n, 3])], axes: matrix, sizes: [4, 1] },
  ],
  identity: [
    { f: (x) => x!.identity(), inputs: (n) => [any([n, 2])], axes: matrix, sizes: [3, 0] },
    { title: 'two identities', f: (x) => [x!.identity().mul(x!), x!.identity()], inputs: () => [any([3])] },
    { title: 'bool', f: (x) => x!.identity(), inputs: () => [masks([3])] },
  ],
  stopGradient: [
    {
      f: (x) => x!.stopGradient(),
      inputs: (n) => [any([n, 2])],
      axes: matrix,
      sizes: [3, 0],
      differences: false,
    },
  ],
  barrier: [
    {
      f: (x, y) => x!.after(y!),
      inputs: (n) => [any([n, 2]), any([2, n], 2)],
      axes: [
        ['n', null],
        [null, 'n'],
      ],
      sizes: [3, 1, 0],
    },
    { title: 'a scalar after anything', f: (x, y) => x!.after(y!), inputs: () => [any([]), any([3])] },
    { title: 'after nothing', f: (x, y) => x!.after(y!), inputs: () => [any([3]), any([0])] },
    { title: 'after a scalar', f: (x, y) => x!.after(y!), inputs: () => [any([3]), any([])] },
    { title: 'a token of integers', f: (x, y) => x!.after(y!), inputs: () => [any([3]), whole([2])] },
    {
      title: 'NaN',
      f: (x, y) => x!.after(y!),
      inputs: () => [any([3]), tensor([Number.NaN])],
      differences: false,
    },
    ...(['f64', 'i32', 'i64', 'bool'] as const).map(
      (dtype): Case => ({ title: dtype, f: (x) => x!.after(x!), inputs: () => [integers([3], dtype, 0, 2)] }),
    ),
  ],

  matmul: [
    ...[
      { transposeA: false, transposeB: false },
      { transposeA: true, transposeB: false },
      { transposeA: false, transposeB: true },
      { transposeA: true, transposeB: true, alpha: 0.5 },
    ].flatMap((options): Case[] => {
      const a = (n: number) => (options.transposeA ? [4, n] : [n, 4])
      const b = options.transposeB ? [3, 4] : [4, 3]
      const flags = JSON.stringify(options)
      return [
        {
          title: `matrices ${flags}`,
          f: (x, y) => x!.matmul(y!, options),
          inputs: (n) => [any(a(n)), any(b, 2)],
          axes: [namesOf(a), undefined],
          sizes: [2, 1, 0],
        },
        {
          title: `batches by a matrix ${flags}`,
          f: (x, y) => x!.matmul(y!, options),
          inputs: (n) => [any([n, 2, ...a(2)]), any(b, 2)],
          axes: [['n', null, null, null], undefined],
          sizes: [2, 1],
        },
        {
          title: `batches that broadcast ${flags}`,
          f: (x, y) => x!.matmul(y!, options),
          inputs: (n) => [any([n, 1, ...a(2)]), any([3, ...b], 2)],
          axes: [['n', null, null, null], undefined],
          sizes: [2, 1],
        },
        {
          title: `a matrix by batches ${flags}`,
          f: (x, y) => x!.matmul(y!, options),
          inputs: (n) => [any(a(2)), any([n, ...b], 2)],
          axes: [undefined, ['n', null, null]],
          sizes: [3, 1],
        },
        {
          title: `f64 ${flags}`,
          f: (x, y) => x!.matmul(y!, options),
          inputs: () => [as(any(a(2)), 'f64'), as(any(b), 'f64')],
        },
      ]
    }),
    {
      title: 'inner size 0',
      f: (x, y) => x!.matmul(y!, { transposeB: true }).add(1),
      inputs: (n) => [any([2, n]), any([3, n])],
      axes: [
        [null, 'n'],
        [null, 'n'],
      ],
      sizes: [4, 0],
    },
    { title: 'by itself', f: (x) => x!.matmul(x!, { transposeB: true }), inputs: () => [any([3, 2])] },
    ...(['i32', 'i64'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x) => x!.matmul(x!, { transposeB: true, alpha: 2 }),
        inputs: () => [as(whole([2, 3]), dtype)],
      }),
    ),
  ],
  gather: [
    {
      title: 'rows, with repetitions',
      f: (x, i) => x!.gather(i!),
      inputs: (n) => [any([5, 2]), indices([2, n], 5)],
      axes: [undefined, [null, 'n']],
      sizes: [6, 1, 0],
    },
    { title: 'scalar index', f: (x, i) => x!.gather(i!), inputs: () => [any([3, 2]), indices([], 3)] },
    {
      title: 'last axis',
      f: (x, i) => x!.gather(i!, -1),
      inputs: () => [any([2, 3]), indices([2, 2], 3, 'i64')],
    },
    {
      title: 'middle of three axes',
      f: (x, i) => x!.gather(i!, 1).mul(x!.gather(i!, 1)),
      inputs: (n) => [any([n, 3, 2]), indices([4], 3)],
      axes: [['n', null, null], undefined],
      sizes: [2, 1, 0],
    },
    {
      title: 'from the end',
      f: (x, i) => x!.gather(i!),
      inputs: () => [any([3, 2]), tensor([-1, 0, -3], [3], 'i32')],
    },
    ...(['f64', 'i32', 'i64', 'bool', 'u8'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x, i) => x!.gather(i!),
        inputs: () => [integers([3, 2], dtype, 0, 2), indices([4], 3)],
      }),
    ),
  ],
  scatter: [
    {
      title: 'add, with repetitions',
      f: (x, i, u) => x!.scatter(i!, u!, 0, 'add'),
      inputs: (n) => [any([4, 2]), indices([n], 4), any([n, 2], 3)],
      axes: [undefined, ['n'], ['n', null]],
      sizes: [7, 1, 0],
    },
    {
      title: 'add to a symbolic axis',
      f: (x, i, u) => x!.scatter(i!, u!, 0, 'add'),
      inputs: (n) => [any([n, 2]), indices([3], 1, 'i64'), any([3, 2], 3)],
      axes: [['n', null], undefined, undefined],
      sizes: [4, 1],
    },
    {
      title: 'add along the last axis',
      f: (x, i, u) => x!.scatter(i!, u!, -1, 'add'),
      inputs: () => [any([2, 3]), indices([2, 2], 3), any([2, 2, 2], 3)],
    },
    {
      title: 'add along the middle axis',
      f: (x, i, u) => x!.scatter(i!, u!, 1, 'add'),
      inputs: (n) => [any([n, 3, 2]), indices([4], 3), any([n, 4, 2], 3)],
      axes: [['n', null, null], undefined, ['n', null, null]],
      sizes: [2, 1, 0],
    },
    {
      title: 'add at one index',
      f: (x, i, u) => x!.scatter(i!, u!, 0, 'add'),
      inputs: () => [any([3, 2]), indices([], 3), any([2])],
    },
    {
      title: 'add from the end',
      f: (x, i, u) => x!.scatter(i!, u!, 0, 'add'),
      inputs: () => [any([3]), tensor([-1, -3], [2], 'i32'), any([2])],
    },
    {
      title: 'set',
      f: (x, i, u) => x!.scatter(i!, u!, 0, 'set'),
      inputs: (n) => [any([4, n]), distinct([2, 0]), any([2, n], 3)],
      axes: [[null, 'n'], undefined, [null, 'n']],
      sizes: [3, 1, 0],
    },
    {
      title: 'set along the last axis',
      f: (x, i, u) => x!.scatter(i!, u!, -1, 'set'),
      inputs: () => [any([2, 4]), distinct([3, 0, 1, -2], [2, 2], 'i64'), any([2, 2, 2], 3)],
    },
    ...(['f64', 'i32', 'i64'] as const).flatMap((dtype): Case[] =>
      (['add', 'set'] as const).map((mode) => ({
        title: `${mode} ${dtype}`,
        f: (x, i, u) => x!.scatter(i!, u!, 0, mode),
        inputs: () => [as(whole([3, 2]), dtype), distinct([2, 0]), as(whole([2, 2], 2), dtype)],
      })),
    ),
  ],
  gatherElements: [
    {
      f: (x, i) => x!.gatherElements(i!, -1),
      inputs: (n) => [any([n, 4]), indices([n, 2], 4)],
      axes: [
        ['n', null],
        ['n', null],
      ],
      sizes: [3, 1, 0],
    },
    {
      title: 'fewer rows',
      f: (x, i) => x!.gatherElements(i!, 1),
      inputs: () => [any([3, 4]), indices([1, 6], 4, 'i64')],
    },
    {
      title: 'first axis',
      f: (x, i) => x!.gatherElements(i!, 0),
      inputs: () => [any([3, 2]), indices([4, 2], 3, 'i32', -3)],
    },
    ...(['f64', 'i32', 'i64', 'bool'] as const).map(
      (dtype): Case => ({
        title: dtype,
        f: (x, i) => x!.gatherElements(i!, 0),
        inputs: () => [integers([3], dtype, 0, 2), indices([4], 3)],
      }),
    ),
  ],
  scatterElements: [
    {
      title: 'add, with repetitions',
      f: (x, i, u) => x!.scatterElements(i!, u!, -1, 'add'),
      inputs: (n) => [any([n, 3]), indices([n, 5], 3), any([n, 5], 3)],
      axes: [
        ['n', null],
        ['n', null],
        ['n', null],
      ],
      sizes: [3, 1, 0],
    },
    {
      title: 'set',
      f: (x, i, u) => x!.scatterElements(i!, u!, 0, 'set'),
      inputs: () => [any([4, 2]), distinct([3, 0, 1, -2], [2, 2]), any([2, 2], 3)],
    },
    {
      title: 'fewer rows',
      f: (x, i, u) => x!.scatterElements(i!, u!, 1, 'add'),
      inputs: () => [any([3, 4]), indices([1, 6], 4, 'i64'), any([1, 6], 2)],
    },
    ...(['f64', 'i32', 'i64'] as const).flatMap((dtype): Case[] =>
      (['add', 'set'] as const).map((mode) => ({
        title: `${mode} ${dtype}`,
        f: (x, i, u) => x!.scatterElements(i!, u!, 0, mode),
        inputs: () => [as(whole([3]), dtype), distinct([2, 0]), as(whole([2], 2), dtype)],
      })),
    ),
  ],
  scan: [
    {
      title: 'a first-order recurrence',
      f: (a, b, h) => recurrence(a!, b!, h!),
      inputs: (n) => [any([n, 3]), any([n, 3], 2), any([3], 3)],
      axes: [['n', null], ['n', null], undefined],
      sizes: [4, 1],
    },
    {
      title: 'backwards',
      f: (a, b, h) => recurrence(a!, b!, h!, true),
      inputs: (n) => [any([n, 3]), any([n, 3], 2), any([3], 3)],
      axes: [['n', null], ['n', null], undefined],
      sizes: [4, 1],
    },
    {
      title: 'a recurrent layer: matrices around, a batch of any size',
      f: (x, w, u, h) => {
        const { state, ys } = scan((h, x) => [x.matmul(w!).add(h.matmul(u!)).tanh(), h], h!, x!)
        return [state, ys]
      },
      inputs: (n) => [any([3, n, 2]), any([2, 4], 2), any([4, 4], 3), any([n, 4], 4)],
      axes: [[null, 'n', null], undefined, undefined, ['n', null]],
      sizes: [2, 1],
    },
    {
      title: 'a size that only the body asks for',
      f: (x) => scan((sum, x) => [sum.add(x.mul(iota(x.shape[0]!, 'f32'))), sum.mul(x)], x!.sum(0), x!).ys,
      inputs: (n) => [any([3, n])],
      axes: [[null, 'n']],
    },
    {
      title: 'two states that change places, one of them whole numbers',
      f: (x) => {
        const start = { a: x!.sum(0), b: x!.mean(0), count: scalar(0, 'i32') }
        const { state, ys } = scan(
          ({ a, b, count }, x) => [
            { a: b.mul(x), b: a, count: count.add(1) },
            { a, even: count.mod(2).equal(0) },
          ],
          start,
          x!,
        )
        return [state.a, state.b, state.count, ys.a, ys.even]
      },
      inputs: (n) => [any([n, 2])],
      axes: [['n', null]],
      sizes: [5, 2],
    },
    {
      title: 'without a state',
      f: (x, w) => scan((state: undefined, x) => [state, x.mul(w!).exp()], undefined, x!).ys,
      inputs: (n) => [any([n, 2]), any([2], 2)],
      axes: [['n', null], undefined],
      sizes: [3, 1],
    },
    {
      title: 'without a result, and with a slice that nothing reads',
      f: (x, y) => scan((sum, [x]) => [sum.mul(0.5).add(x), undefined], y!.sum(0), [x!, y!] as const).state,
      inputs: (n) => [any([n, 2]), any([n, 2], 2)],
      axes: [
        ['n', null],
        ['n', null],
      ],
    },
    {
      title: 'a loop in a loop',
      f: (x, w) =>
        scan(
          (rows, x) => {
            const { state, ys } = scan((h, x) => [h.mul(w!).add(x), h.mul(rows)], rows, x)
            return [state, ys]
          },
          w!,
          x!,
        ).ys,
      inputs: (n) => [any([2, n, 3]), any([3], 2)],
      axes: [[null, 'n', null], undefined],
      sizes: [3, 1],
    },
    {
      title: 'f64',
      f: (a, b, h) => recurrence(a!, b!, h!),
      inputs: () => [any([4, 2]), any([4, 2], 2), any([2], 3)].map((x) => as(x, 'f64')),
    },
  ],
}
