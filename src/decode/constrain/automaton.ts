/** A grammar as a network over bytes: rules call each other, so that it is a pushdown automaton. */

import type { Expression, Grammar } from './grammar.ts'
import { byteRanges } from './utf8.ts'

export interface Node {
  /** Reads a byte of [first, last]. */
  readonly bytes: { readonly first: number; readonly last: number; readonly to: Node }[]
  /** Goes on without reading. */
  readonly skips: Node[]
  /** Reads what the rule that begins at `rule` reads, then goes on. */
  readonly calls: { readonly rule: Node; readonly to: Node }[]
  /** The end of a rule. */
  final: boolean
  readonly id: number
}

/** Repetitions are written out: a grammar beyond this many nodes asks for too much. */
const maxNodes = 1_000_000

/** Compiles a grammar to its start node. Throws for rules that are missing or that call themselves first. */
export function compile(grammar: Grammar): Node {
  let count = 0
  const checkSize = (nodes: number): void => {
    if (nodes > maxNodes)
      throw new Error(`the grammar has over ${maxNodes} states: are its repetitions too long?`)
  }
  const node = (): Node => {
    checkSize(count + 1)
    return { bytes: [], skips: [], calls: [], final: false, id: count++ }
  }
  const starts = new Map([...grammar.rules.keys()].map((name) => [name, node()]))

  /** Adds the expression between `from` and the node it returns. */
  function add(expression: Expression, from: Node): Node {
    switch (expression.kind) {
      case 'text': {
        let at = from
        for (const byte of new TextEncoder().encode(expression.text)) {
          const to = node()
          at.bytes.push({ first: byte, last: byte, to })
          at = to
        }
        return at
      }
      case 'chars': {
        const end = node()
        for (const range of expression.ranges)
          for (const path of byteRanges(range)) {
            let at = from
            for (const [i, [first, last]] of path.entries()) {
              const to = i === path.length - 1 ? end : node()
              at.bytes.push({ first, last, to })
              at = to
            }
          }
        return end
      }
      case 'sequence':
        return expression.parts.reduce((at, part) => add(part, at), from)
      case 'choice': {
        const end = node()
        for (const option of expression.options) {
          const start = node()
          from.skips.push(start)
          add(option, start).skips.push(end)
        }
        return end
      }
      case 'repeat':
        return addRepeat(expression, from)
      case 'refer': {
        const rule = starts.get(expression.rule)
        if (!rule) throw new Error(`the grammar has no rule '${expression.rule}'`)
        const to = node()
        from.calls.push({ rule, to })
        return to
      }
    }
  }

  function addRepeat({ part, min, max }: Extract<Expression, { kind: 'repeat' }>, from: Node): Node {
    let at = from
    const before = count
    for (let i = 0; i < min; i++) {
      at = add(part, at)
      // Each copy is as large as the first: what gets too large is not even begun.
      if (i === 0) checkSize(before + (count - before) * min)
    }
    const end = node()
    if (max === Number.POSITIVE_INFINITY) {
      const loop = node()
      at.skips.push(loop)
      add(part, loop).skips.push(loop)
      loop.skips.push(end)
      return end
    }
    for (let i = min; i < max; i++) {
      at.skips.push(end)
      const sofar = count
      at = add(part, at)
      if (i === min) checkSize(sofar + (count - sofar) * (max - min))
    }
    at.skips.push(end)
    return end
  }

  for (const [name, expression] of grammar.rules) add(expression, starts.get(name)!).final = true
  const root = starts.get(grammar.root)
  if (!root) throw new Error(`the grammar has no rule '${grammar.root}'`)
  for (const [name, start] of starts) refuseLeftRecursion(name, start)
  return root
}

/** A rule that can call itself before it reads anything would be called for ever. */
function refuseLeftRecursion(name: string, start: Node): void {
  const seen = new Set<Node>()
  const pending = [start]
  for (let at = pending.pop(); at; at = pending.pop()) {
    if (seen.has(at)) continue
    seen.add(at)
    for (const { rule, to } of at.calls) {
      if (rule === start) throw new Error(`rule '${name}' begins with itself: rewrite it with a repetition`)
      pending.push(rule)
      if (isNullable(rule)) pending.push(to)
    }
    pending.push(...at.skips)
  }
}

/** Whether a rule can read nothing. Rules that are being looked at count as not: that is found without them. */
function isNullable(rule: Node, within: ReadonlySet<Node> = new Set()): boolean {
  if (within.has(rule)) return false
  const inside = new Set(within).add(rule)
  const seen = new Set<Node>()
  const pending = [rule]
  for (let at = pending.pop(); at; at = pending.pop()) {
    if (at.final) return true
    if (seen.has(at)) continue
    seen.add(at)
    pending.push(...at.skips)
    for (const call of at.calls) if (isNullable(call.rule, inside)) pending.push(call.to)
  }
  return false
}
