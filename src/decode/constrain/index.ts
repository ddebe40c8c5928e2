/** Constrained output: grammars and JSON schemas that generation keeps to. */
import type { Tokenizer } from '../../text/index.ts'
import { Constraint } from './constraint.ts'
import { parseGbnf } from './gbnf.ts'
import { type JsonSchema, schemaGrammar } from './schema.ts'

export { Constraint } from './constraint.ts'
export { parseGbnf } from './gbnf.ts'
export type { Grammar } from './grammar.ts'
export { type JsonSchema, schemaGrammar } from './schema.ts'

/** What an output must be: JSON that is valid by a schema, or a text of a GBNF grammar. */
export type OutputForm = { readonly jsonSchema: JsonSchema } | { readonly grammar: string }

/**
 * A constraint for `generate`.
 *
 * @example
 * const constrain = constraint(model.tokenizer!, { jsonSchema: { type: 'object', properties: { name: { type: 'string' } } } })
 * const [answer] = await complete(model, ['A girl in JSON: '], { maxTokens: 100 }, { constrain })
 */
export const constraint = (tokenizer: Tokenizer, form: OutputForm): Constraint =>
  new Constraint(tokenizer, 'grammar' in form ? parseGbnf(form.grammar) : schemaGrammar(form.jsonSchema))
