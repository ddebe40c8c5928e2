/** Generation that a grammar permits, as a rule over logits. */
import type { Tokenizer } from '../../text/index.ts'
import type { Rule } from '../rule.ts'
import type { Grammar } from './grammar.ts'
import { Machine, type State } from './machine.ts'
import { TextTokens } from './vocabulary.ts'

/** Lists of allowed tokens that are kept: one can be as long as the vocabulary. */
const maxLists = 256

/** Vocabularies are sorted once. */
const vocabularies = new WeakMap<Tokenizer, TextTokens>()

/**
 * A grammar compiled for a tokenizer; `generate` takes it as `constrain`. Tokens that cannot continue get the
 * logit -Infinity; what ends generation is possible exactly where the text may end.
 *
 * The tokens need not be those that the tokenizer would choose for the text: a model that prefers `":` to `"`
 * and `:` gets it if the grammar has both, but a constraint that cuts a token in two leads it to spellings
 * that it has seen seldom.
 */
export class Constraint {
  readonly #tokenizer: Tokenizer
  readonly #machine: Machine
  readonly #tokens: TextTokens
  readonly #allowed = new Map<State, readonly number[]>()

  constructor(tokenizer: Tokenizer, grammar: Grammar) {
    this.#tokenizer = tokenizer
    this.#machine = new Machine(grammar)
    this.#tokens = vocabularies.get(tokenizer) ?? new TextTokens(tokenizer)
    vocabularies.set(tokenizer, this.#tokens)
  }

  /** The rule; `ends` are the tokens that end generation. Rows are told apart by their list of tokens. */
  rule(ends: Iterable<number>): Rule {
    const endings = [...ends]
    if (endings.length === 0)
      throw new Error('constrained output needs a token that ends it: the model has none, give stopTokens')
    const rows = new WeakMap<readonly number[], { state: State; read: number }>()
    return (logits, { tokens }) => {
      // A row is first seen when its prompt has been read, which is free text.
      const row = rows.get(tokens) ?? { state: this.#machine.start, read: tokens.length }
      for (; row.read < tokens.length; row.read++) row.state = this.#accept(row.state, tokens[row.read]!)
      rows.set(tokens, row)
      this.#mask(logits, row.state, endings)
    }
  }

  #accept(state: State, token: number): State {
    const next = this.#machine.read(state, this.#tokenizer.bytes(token))
    if (next) return next
    throw new Error(`token ${token} is not what the grammar permits: the constraint must be the first rule`)
  }

  #mask(logits: Float32Array, state: State, ends: readonly number[]): void {
    const ids = [...this.#allowedIn(state), ...(state.accepting ? ends : [])]
    if (ids.length === 0)
      throw new Error('the grammar goes on with characters that no token of the vocabulary has')
    const kept = ids.map((id) => logits[id]!)
    logits.fill(Number.NEGATIVE_INFINITY)
    for (const [i, id] of ids.entries()) logits[id] = kept[i]!
  }

  #allowedIn(state: State): readonly number[] {
    const known = this.#allowed.get(state)
    if (known) return known
    const found = this.#tokens.allowed(this.#machine, state)
    const [oldest] = this.#allowed.keys()
    if (oldest && this.#allowed.size >= maxLists) this.#allowed.delete(oldest)
    this.#allowed.set(state, found)
    return found
  }
}
