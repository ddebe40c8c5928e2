/** Reverse-mode differentiation, graph to graph: the result is more graph, so it can be differentiated again. */
import { sameShape } from './dim.ts'
import { isFloat } from './dtype.ts'
import { type Call, type Op, ShapeError } from './op.ts'
import { apply, scalar, Tensor } from './tensor.ts'
import { leaves, type Mapped, mapTree, unflatten } from './tree.ts'

/** Tensors that `tensor` is computed from, as differentiation sees them. */
function parents(tensor: Tensor): readonly Tensor[] {
  if (tensor.source.kind !== 'call') return []
  const { call, index } = tensor.source
  if (call.op.grad === 'none') return []
  return call.op.grad === 'body' ? [call.expansion![index]!] : call.inputs
}

/** Nodes between `outputs` and `wrt` that depend on `wrt`, newest first: every user of a node comes before it. */
function dependents(outputs: readonly Tensor[], wrt: ReadonlySet<Tensor>): Tensor[] {
  const depends = new Map<Tensor, boolean>()
  // An explicit stack: graphs are deeper than the call stack allows.
  const stack = [...outputs]
  while (stack.length > 0) {
    const node = stack.at(-1)!
    if (depends.has(node)) {
      stack.pop()
      continue
    }
    const above = wrt.has(node) ? [] : parents(node)
    const open = above.filter((parent) => !depends.has(parent))
    if (open.length > 0) stack.push(...open)
    else {
      depends.set(node, wrt.has(node) || above.some((parent) => depends.get(parent)))
      stack.pop()
    }
  }
  return [...depends].flatMap(([node, yes]) => (yes ? [node] : [])).sort((a, b) => b.id - a.id)
}

/**
 * Cotangents of `wrt` from those of `outputs`: the vector-Jacobian product. Tensors that the outputs do not
 * depend on get zeros.
 */
export function backpropagate(
  outputs: readonly Tensor[],
  cotangents: readonly Tensor[],
  wrt: readonly Tensor[],
): Tensor[] {
  const sources = new Set(wrt)
  const order = dependents(outputs, sources)
  const reached = new Set(order)
  const sums = new Map<Tensor, Tensor>()
  const accumulate = (node: Tensor, g: Tensor | undefined): void => {
    if (!g || !reached.has(node)) return
    if (!sameShape(g.shape, node.shape) || g.dtype !== node.dtype)
      throw new Error(`gradient of ${node} came out as ${g}: a rule is wrong`)
    const sum = sums.get(node)
    sums.set(node, sum ? sum.add(g) : g)
  }
  outputs.forEach((output, i) => {
    accumulate(output, cotangents[i])
  })

  const done = new Set<Call>()
  for (const node of order) {
    if (sources.has(node) || node.source.kind !== 'call') continue
    const { call, index } = node.source
    if (call.op.grad === 'body') {
      accumulate(call.expansion![index]!, sums.get(node))
      continue
    }
    if (done.has(call) || call.op.grad === 'none') continue
    done.add(call)
    const seeds = call.outputs.map((output) => sums.get(output))
    if (seeds.every((seed) => seed === undefined)) continue
    const grads = call.op.grad(seeds, call)
    call.inputs.forEach((input, i) => {
      accumulate(input, grads[i])
    })
  }
  return wrt.map((leaf) => sums.get(leaf) ?? leaf.zero().broadcastTo(leaf.shape))
}

/** Fresh identities for the leaves, so that only their use inside the function counts. */
function differentiable<T>(tree: T): T {
  return mapTree(tree, (leaf, path) => {
    if (!isFloat(leaf.dtype))
      throw new TypeError(`cannot differentiate with respect to '${path}' of dtype ${leaf.dtype}`)
    return leaf.identity()
  }) as T
}

const list = (tree: unknown): Tensor[] => leaves(tree).map(([, leaf]) => leaf)

/** The value of `f` at `primals` and the function from cotangents of the value to cotangents of the primals. */
export function vjp<P extends readonly unknown[], R>(
  f: (...primals: P) => R,
  ...primals: P
): { value: R; pullback: (cotangents: R) => P } {
  const inputs = differentiable(primals)
  const value = f(...inputs)
  return {
    value,
    pullback(cotangents) {
      const [outputs, given] = [list(value), list(cotangents)]
      const fits =
        outputs.length === given.length && outputs.every((y, i) => sameShape(y.shape, given[i]!.shape))
      if (!fits)
        throw new ShapeError(`vjp: cotangents [${given.join(', ')}] of values [${outputs.join(', ')}]`)
      return unflatten(primals, backpropagate(outputs, given, list(inputs))) as unknown as P
    },
  }
}

/**
 * `f` with its gradient in the first argument. `f` gives a scalar loss, or `[loss, extra]` with anything
 * else worth keeping.
 */
export function valueAndGrad<P, A extends readonly unknown[], R extends Tensor | readonly [Tensor, unknown]>(
  f: (params: P, ...rest: A) => R,
): (params: P, ...rest: A) => [value: R, grads: Mapped<P, Tensor>] {
  return (params, ...rest) => {
    const inputs = differentiable(params)
    const value = f(inputs, ...rest)
    const loss = value instanceof Tensor ? value : (value as readonly [Tensor, unknown])[0]
    if (!isFloat(loss.dtype)) throw new TypeError(`grad needs a loss of floats, got ${loss}`)
    if (loss.rank !== 0) throw new Error(`grad needs a scalar loss, got ${loss}; take its sum or mean`)
    const grads = backpropagate([loss], [scalar(1, loss.dtype)], list(inputs))
    return [value, unflatten(params, grads)]
  }
}

/** The gradient of a scalar function in its first argument. */
export function grad<P, A extends readonly unknown[]>(
  f: (params: P, ...rest: A) => Tensor,
): (params: P, ...rest: A) => Mapped<P, Tensor> {
  return (params, ...rest) => valueAndGrad(f)(params, ...rest)[1]
}

/**
 * `f`, computed again in the backward pass instead of keeping its intermediate values (rematerialisation):
 * memory for time. The values and gradients are those of `f`; tensors that `f` captures are found and
 * differentiated too.
 */
export function checkpoint<P extends readonly unknown[], R>(f: (...primals: P) => R): (...primals: P) => R {
  return (...primals) => {
    const before = scalar(0).id
    // Arguments under new identities: a tensor that is an argument may be captured as well.
    const own = mapTree(primals, (leaf) => leaf.identity())
    const arguments_ = list(own)
    let result = f(...(own as unknown as P))
    const expansion = list(result)
    const captured = freeTensors(expansion, before, new Set(arguments_))
    const inputs = [...arguments_, ...captured]
    const op: Op<object> = {
      name: 'checkpoint',
      transparent: true,
      shape: () => expansion.map(({ shape, dtype }) => ({ shape, dtype })),
      onnx: () => undefined,
      grad(seeds, { inputs }) {
        const cotangents = expansion.map((output, i) => seeds[i] ?? output.zero().broadcastTo(output.shape))
        const token = seeds.find((seed) => seed !== undefined)!
        const again = arguments_.map((_, i) => inputs[i]!.after(token))
        const outputs = list(f(...(unflatten(primals, again) as unknown as P)))
        return backpropagate(outputs, cotangents, [...again, ...captured])
      },
    }
    const outputs = apply(op, inputs, {}, expansion)
    result = unflatten(result, outputs) as R
    return result
  }
}

/**
 * `f` with a derivative of its own, where the true one is zero or not there (straight-through estimators) or costs more
 * than it has to. `pullback` gives the cotangents of the inputs (undefined: zero) from those of the outputs; it may use
 * all outputs, so what the forward pass has computed can be one of them. Tensors that `f` captures get no gradient.
 */
export function customGradient(
  name: string,
  f: (...inputs: readonly Tensor[]) => readonly Tensor[],
  pullback: (
    cotangents: readonly (Tensor | undefined)[],
    call: Pick<Call, 'inputs' | 'outputs'>,
  ) => readonly (Tensor | undefined)[],
): (...inputs: readonly Tensor[]) => Tensor[] {
  return (...inputs) => {
    const expansion = f(...inputs)
    const op: Op<object> = {
      name,
      transparent: true,
      shape: () => expansion.map(({ shape, dtype }) => ({ shape, dtype })),
      onnx: () => undefined,
      grad: pullback,
    }
    return apply(op, inputs, {}, expansion)
  }
}

/** Differentiable tensors older than `before` that `outputs` are computed from, besides `known`. */
function freeTensors(outputs: readonly Tensor[], before: number, known: ReadonlySet<Tensor>): Tensor[] {
  const seen = new Set<Tensor>(known)
  const free: Tensor[] = []
  const stack = [...outputs]
  while (stack.length > 0) {
    const node = stack.pop()!
    if (seen.has(node)) continue
    seen.add(node)
    if (node.id < before) {
      const literal = node.source.kind === 'value' && node.source.literal
      if (isFloat(node.dtype) && !literal) free.push(node)
    } else if (node.source.kind === 'call') {
      const { call, index } = node.source
      stack.push(...call.inputs)
      if (call.expansion) stack.push(call.expansion[index]!)
    }
  }
  return free
}
