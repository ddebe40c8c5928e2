/** Options as text: what a schema says of each, and values read from what was written. */
import * as z from 'zod'

/** The part of JSON Schema that options need. */
export interface Field {
  readonly type?: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object'
  readonly items?: Field
  readonly enum?: readonly string[]
  readonly default?: unknown
  readonly description?: string
}

/** The options of a schema by their names. */
export function fieldsOf(schema: z.ZodType): Readonly<Record<string, Field>> {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input' }) as {
    properties?: Readonly<Record<string, Field>>
  }
  return properties
}

export const isNumber = ({ type }: Field): boolean => type === 'integer' || type === 'number'

/** A text as the value that the schema expects; throws an Error with the reason. Lists are `3,17,42`. */
export function readValue(text: string, field: Field): unknown {
  if (field.type === 'array') return text.split(',').map((item) => readValue(item, field.items!))
  if (field.type === 'object') return readJson(text)
  if (field.type === 'boolean') {
    if (text !== 'true' && text !== 'false') throw new Error('must be true or false')
    return text === 'true'
  }
  if (!isNumber(field)) return text
  if (text.trim() === '' || Number.isNaN(Number(text)))
    throw new Error(text ? `'${text}' is not a number` : 'a number is missing')
  return Number(text)
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`not JSON: ${(error as Error).message}`)
  }
}

/** What is wrong with a value, in words that fit behind it. */
export function explain(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      if (issue.origin === 'string' || issue.origin === 'array') return 'must not be empty'
      return `must be ${issue.inclusive ? 'at least' : 'above'} ${issue.minimum}`
    case 'too_big':
      return `must be ${issue.inclusive ? 'at most' : 'below'} ${issue.maximum}`
    case 'invalid_value':
      return `must be ${issue.values.join(', ').replace(/, ([^,]*)$/, ' or $1')}`
    case 'invalid_type':
      return `must be ${issue.expected === 'int' ? 'a whole number' : `of type ${issue.expected}`}`
    default:
      return issue.message
  }
}
