/** Constrained output: grammars and JSON schemas that generation keeps to. */
import type { Tokenizer, ToolCallFormat } from '../../text/index.ts'
import { Constraint } from './constraint.ts'
import { parseGbnf } from './gbnf.ts'
import type { Grammar } from './grammar.ts'
import { type JsonSchema, schemaGrammar } from './schema.ts'
import { type ToolFunction, toolCallGrammar } from './toolCalls.ts'

export { Constraint } from './constraint.ts'
export { parseGbnf } from './gbnf.ts'
export type { Grammar } from './grammar.ts'
export { type JsonSchema, schemaGrammar } from './schema.ts'
export { type ToolFunction, toolCallGrammar } from './toolCalls.ts'

/** What an output must be: JSON that is valid by a schema, a text of a GBNF grammar, or a call of one of these tools. */
export type OutputForm =
  | { readonly jsonSchema: JsonSchema }
  | { readonly grammar: string }
  | { readonly calls: readonly ToolFunction[]; readonly format: ToolCallFormat }

function grammarOf(form: OutputForm): Grammar {
  if ('grammar' in form) return parseGbnf(form.grammar)
  return 'calls' in form ? toolCallGrammar(form.calls, form.format) : schemaGrammar(form.jsonSchema)
}

/**
 * A constraint for `generate`.
 *
 * @example
 * const constrain = constraint(model.tokenizer!, { jsonSchema: { type: 'object', properties: { name: { type: 'string' } } } })
 * const [answer] = await complete(model, ['A girl in JSON: '], { maxTokens: 100 }, { constrain })
 */
export const constraint = (tokenizer: Tokenizer, form: OutputForm): Constraint =>
  new Constraint(tokenizer, grammarOf(form))
