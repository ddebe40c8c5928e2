/** Graphs: what a traced function became. Walking, resolving fused operations, printing. */
import { type Dim, showShape } from './dim.ts'
import type { Body, Call } from './op.ts'
import type { Tensor } from './tensor.ts'

export interface Graph {
  /** Placeholders, in the order in which a run supplies them. */
  readonly inputs: readonly { readonly name: string; readonly tensor: Tensor }[]
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[]
  /** Outputs that may be written over an input's memory: output index -> input index. */
  readonly inPlace?: ReadonlyMap<number, number>
}

export const callOf = (tensor: Tensor): Call | undefined =>
  tensor.source.kind === 'call' ? tensor.source.call : undefined

/**
 * Every node that `outputs` need, inputs before users, without those that are `known` already and what only
 * they need. `inlined` calls are entered by their expansion.
 */
export function postOrder(
  outputs: readonly Tensor[],
  inlined: (call: Call) => boolean = () => false,
  known: (node: Tensor) => boolean = () => false,
): Tensor[] {
  const order = new Set<Tensor>()
  const stack = [...outputs].reverse()
  while (stack.length > 0) {
    const node = stack.at(-1)!
    if (order.has(node) || known(node)) {
      stack.pop()
      continue
    }
    const call = callOf(node)
    const needs = !call ? [] : inlined(call) ? call.expansion! : call.inputs
    const open = needs.filter((input) => !order.has(input) && !known(input))
    if (open.length > 0) stack.push(...open.reverse())
    else {
      order.add(node)
      stack.pop()
    }
  }
  return [...order]
}

/**
 * Fused calls whose intermediate values are used outside of them, by a gradient for example: running the
 * fused operator beside its body would compute everything twice, so the body serves both.
 */
export function opened(
  outputs: readonly Tensor[],
  known: (node: Tensor) => boolean = () => false,
): Set<Call> {
  const inlined = new Set<Call>()
  const inside = new Map<Call, readonly Call[]>()
  for (;;) {
    const calls = new Set(
      postOrder(outputs, (call) => inlined.has(call), known).flatMap((node) => callOf(node) ?? []),
    )
    let found = false
    for (const call of calls) {
      if (!call.expansion || inlined.has(call)) continue
      if (!inside.has(call)) inside.set(call, internalCalls(call))
      if (inside.get(call)!.some((inner) => calls.has(inner))) {
        inlined.add(call)
        found = true
      }
    }
    if (!found) return inlined
  }
}

function internalCalls(call: Call): Call[] {
  const boundary = new Set(call.inputs)
  const found = new Set<Call>()
  const stack = [...call.expansion!]
  while (stack.length > 0) {
    const node = stack.pop()!
    const inner = callOf(node)
    if (boundary.has(node) || !inner || found.has(inner)) continue
    found.add(inner)
    stack.push(...inner.inputs)
  }
  return [...found]
}

/** A size that must not be negative when the program runs. */
export interface SizeCondition {
  readonly dim: Dim
  readonly text: string
}

/**
 * What cannot be known while tracing: whether sizes with a minus come out as sizes, and what operations ask of
 * symbolic sizes, such as that a slice stays inside its axis.
 */
export function conditionsOf(graph: Graph): SizeCondition[] {
  const conditions = new Map<string, SizeCondition>()
  const require = (dim: Dim, text: string): void => {
    const unsure = typeof dim === 'number' ? dim < 0 : [...dim.terms.values()].some((factor) => factor < 0)
    if (unsure && !conditions.has(`${dim}`)) conditions.set(`${dim}`, { dim, text })
  }
  const visit = (outputs: readonly Tensor[], inputs: readonly Tensor[]): void => {
    const given = new Set(inputs)
    for (const node of postOrder(
      outputs,
      (call) => call.expansion !== undefined,
      (node) => given.has(node),
    )) {
      const call = callOf(node)
      if (!call) continue
      for (const dim of node.shape) require(dim, `${call.op.name}: ${node} has a negative size`)
      for (const [dim, text] of call.op.conditions?.(call.inputs, call.attributes) ?? []) require(dim, text)
      const { body } = call.attributes
      if (body) visit(body.outputs, body.inputs)
    }
  }
  visit(
    graph.outputs.map(({ tensor }) => tensor),
    [],
  )
  return [...conditions.values()]
}

/** Calls that stand for nothing but their body. */
export const transparent = (call: Call): boolean => call.op.transparent === true

const showNumber = (value: number): string => (Object.is(value, -0) ? '-0' : `${value}`)

const showAttributes = (attributes: object): string => {
  const shown = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined || value === false || key === 'body'
      ? []
      : [value === true ? key : `${key}: ${Array.isArray(value) ? showShape(value) : value}`],
  )
  return shown.length > 0 ? ` {${shown.join(', ')}}` : ''
}

/**
 * The graph as text, one operation a line:
 * `%3 = matmul(%1, @params.q) {transposeB}   f32[batch, time, 64]`. Equal texts are equal computations, save
 * for the contents of captured arrays, which appear by dtype and shape.
 */
export function printGraph(graph: Graph): string {
  const names = new Map<Tensor, string>()
  for (const { name, tensor } of graph.inputs) names.set(tensor, `@${name}`)
  const lines = graph.inputs.map(({ name, tensor }) => `input @${name}   ${tensor}`)
  let next = 0
  let constants = 0
  const name = (tensor: Tensor): string => {
    const known = names.get(tensor)
    if (known !== undefined) return known
    const { source } = tensor
    const text =
      source.kind === 'input'
        ? `unbound ${source.name}`
        : source.kind === 'call'
          ? `%${next++}`
          : source.literal
            ? showNumber(tensor.item())
            : `constant${constants++}:${tensor}`
    names.set(tensor, text)
    return text
  }
  const seen = new Set<Call>()
  const given = new Set(graph.inputs.map(({ tensor }) => tensor))
  for (const node of postOrder(
    graph.outputs.map(({ tensor }) => tensor),
    transparent,
    (node) => given.has(node),
  )) {
    const call = callOf(node)
    if (!call || seen.has(call)) continue
    seen.add(call)
    if (transparent(call)) {
      call.outputs.forEach((output, i) => {
        names.set(output, name(call.expansion![i]!))
      })
      continue
    }
    const inputs = call.inputs.map(name).join(', ')
    const outputs = call.outputs.map(name).join(', ')
    lines.push(
      `${outputs} = ${call.op.name}(${inputs})${showAttributes(call.attributes)}   ${call.outputs.join(', ')}`,
    )
    if (call.attributes.body) lines.push(...printBody(call.attributes.body))
  }
  for (const { name: path, tensor } of graph.outputs) lines.push(`output ${path} = ${name(tensor)}`)
  return lines.join('\n')
}

/** A body's own graph, moved in: its inputs are those of the call, in order. */
function printBody({ inputs, outputs }: Body): string[] {
  const named = (tensors: readonly Tensor[]): Graph['inputs'] =>
    tensors.map((tensor, i) => ({ name: `${i}`, tensor }))
  return printGraph({ inputs: named(inputs), outputs: named(outputs) })
    .split('\n')
    .map((line) => `  ${line}`)
}
