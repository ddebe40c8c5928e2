/**
 * Rules change the logits before a token is drawn. They run in the order in which they are given; a
 * forbidden token has the logit -Infinity. Each works in place on one row, f32 [vocab]. A rule that remembers
 * something is made anew for every row.
 */
export interface RuleContext {
  /** The row's tokens so far, prompt included. */
  readonly tokens: readonly number[]
  /** How many of them are the prompt. */
  readonly promptLength: number
  /** A number in [0, 1) from the row's own seeded stream. */
  readonly random: () => number
}
export type Rule = (logits: Float32Array, context: RuleContext) => void

/** What makes the rules of rows: for a rule that remembers something. */
export interface RuleMaker {
  rule(): Rule
}

/** The rule of one row. */
export const ruleOf = (source: Rule | RuleMaker): Rule =>
  typeof source === 'function' ? source : source.rule()
