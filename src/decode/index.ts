/** Generation: the loop, its options, and the rules that shape it. */
export {
  Constraint,
  constraint,
  type JsonSchema,
  type OutputForm,
  parseGbnf,
  schemaGrammar,
} from './constrain/index.ts'
export {
  type Completion,
  type Context,
  complete,
  type FinishReason,
  type GenerateEvent,
  generate,
  type Prompt,
  promptTokens,
} from './generate.ts'
export { type GenerateOptions, generateSchema, parseOptions } from './options.ts'
export * from './rules.ts'
export { type ScoreContext, scoreBatch, scoreStepwise, scoreTokens } from './score.ts'
