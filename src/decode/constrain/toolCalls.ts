/** A call of a tool as a grammar: what must be written where a call is asked for (`tool_choice` of OpenAI's API). */
import type { ToolCallFormat } from '../../text/index.ts'
import { type Expression, type Grammar, refer, sequence, text } from './grammar.ts'
import { type JsonSchema, schemaGrammar } from './schema.ts'

/** A tool as clients describe it: `parameters` is a JSON schema of an object; without one there are none. */
export interface ToolFunction {
  readonly name: string
  readonly parameters?: JsonSchema | undefined
}

/** What stands around the JSON of one call, and what its arguments are called. */
const notations: Readonly<
  Record<ToolCallFormat, { before: string; after: string; given: 'arguments' | 'parameters' }>
> = {
  hermes: { before: '<tool_call>\n', after: '\n</tool_call>', given: 'arguments' },
  mistral: { before: '[TOOL_CALLS][', after: ']', given: 'arguments' },
  llama: { before: '', after: '', given: 'parameters' },
}

/** The grammar of exactly one call of one of these tools, with arguments that its schema allows. */
export function toolCallGrammar(tools: readonly ToolFunction[], format: ToolCallFormat): Grammar {
  if (tools.length === 0) throw new Error('a call needs at least one tool')
  const { before, after, given } = notations[format]
  const calls = tools.map(({ name, parameters = { type: 'object', properties: {} } }, i) => ({
    type: 'object',
    properties: {
      name: { const: name },
      [given]: ofObject(moved(parameters, `#/anyOf/${i}/properties/${given}`) as JsonSchema),
    },
    required: ['name', given],
  }))
  const { rules, root } = schemaGrammar({ anyOf: calls })
  const whole: Expression = sequence(text(before), refer(root), text(after))
  return { rules: new Map([...rules, ['call', whole]]), root: 'call' }
}

/** Arguments are an object, also where the schema leaves it open. */
const ofObject = (schema: JsonSchema): JsonSchema =>
  schema === true || (schema !== false && Object.keys(schema).length === 0) ? { type: 'object' } : schema

/** A schema whose references within itself begin at this place of a larger one. */
function moved(schema: unknown, at: string): unknown {
  if (Array.isArray(schema)) return schema.map((one) => moved(one, at))
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string' ? value.replace(/^#/, at) : moved(value, at),
    ]),
  )
}
