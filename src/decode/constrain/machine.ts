/**
 * Runs an automaton byte by byte. A state is the set of stacks that what was read can have led to; states are
 * remembered with what follows them, so that a state met again costs one look-up a byte.
 */
import { compile, type Node } from './automaton.ts'
import type { Grammar } from './grammar.ts'

/** Where to go on, and where then. Equal stacks are one object: `id` names them. */
interface Stack {
  readonly node: Node
  readonly below: Stack | undefined
  readonly id: number
}

export interface State {
  /** Stacks whose top can read a byte. */
  readonly stacks: readonly Stack[]
  /** Whether the text may end here. */
  readonly accepting: boolean
  /** By byte, what is known; undefined values are dead ends. */
  readonly next: Map<number, State | undefined>
}

/** States that are remembered. Those in use live on when the memory is emptied. */
const maxStates = 100_000

export class Machine {
  readonly start: State
  #states = new Map<string, State>()
  #stacks = new Map<string, Stack>()
  #count = 0

  constructor(grammar: Grammar) {
    this.start = this.#state([this.#stack(compile(grammar), undefined)])
  }

  /** The state after a byte; undefined where it cannot follow. */
  step(state: State, byte: number): State | undefined {
    if (state.next.has(byte)) return state.next.get(byte)
    const stacks: Stack[] = []
    for (const { node, below } of state.stacks)
      for (const { first, last, to } of node.bytes)
        if (byte >= first && byte <= last) stacks.push(this.#stack(to, below))
    const next = stacks.length === 0 ? undefined : this.#state(stacks)
    state.next.set(byte, next)
    return next
  }

  /** The state after several bytes. */
  read(state: State, bytes: Uint8Array): State | undefined {
    let at: State | undefined = state
    for (const byte of bytes) if (at) at = this.step(at, byte)
    return at
  }

  /** What these stacks lead to without reading. */
  #state(from: readonly Stack[]): State {
    const seen = new Set<Stack>()
    const pending = [...from]
    const readable: Stack[] = []
    let accepting = false
    for (let at = pending.pop(); at; at = pending.pop()) {
      if (seen.has(at)) continue
      seen.add(at)
      const { node, below } = at
      if (node.bytes.length > 0) readable.push(at)
      if (node.final && below) pending.push(below)
      if (node.final && !below) accepting = true
      for (const skip of node.skips) pending.push(this.#stack(skip, below))
      for (const { rule, to } of node.calls) pending.push(this.#stack(rule, this.#return(to, below)))
    }
    readable.sort((a, b) => a.id - b.id)
    const key = `${accepting ? '!' : ''}${readable.map(({ id }) => id).join()}`
    const known = this.#states.get(key)
    if (known) return known
    if (this.#states.size >= maxStates) {
      this.#states.clear()
      this.#stacks.clear()
    }
    const state = { stacks: readable, accepting, next: new Map() }
    this.#states.set(key, state)
    return state
  }

  /** The stack that a call returns to. Nothing is left to do at the end of a rule: right recursion does not grow. */
  #return(to: Node, below: Stack | undefined): Stack | undefined {
    const isEnd = to.final && to.bytes.length + to.skips.length + to.calls.length === 0
    return isEnd ? below : this.#stack(to, below)
  }

  #stack(node: Node, below: Stack | undefined): Stack {
    const key = `${node.id},${below?.id ?? ''}`
    const known = this.#stacks.get(key)
    if (known) return known
    const stack = { node, below, id: this.#count++ }
    this.#stacks.set(key, stack)
    return stack
  }
}
