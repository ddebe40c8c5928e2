/**
 * JSON schemas as grammars: every text that the grammar permits is valid by the schema. The other direction is
 * not promised: properties come in the order of the schema, and an object that names properties has no others
 * unless `additionalProperties` asks for them. A keyword that is not known is an error, never ignored.
 */
import { choice, type Expression, type Grammar, refer, sequence, text } from './grammar.ts'
import { integerBetween } from './integers.ts'
import { anyRules, anyValue, arrayOf, integer, literal, number, stringOf } from './json.ts'
import { objectOf } from './objects.ts'
import { disjoint } from './overlap.ts'
import { stringLike } from './pattern.ts'

export type JsonSchema = boolean | { readonly [key: string]: unknown }
type Fields = Readonly<Record<string, unknown>>

/** What says nothing about values. */
const annotations = [
  ...['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'],
  ...['$schema', '$id', '$comment', '$defs', 'definitions'],
]

/** What each type may be narrowed by. */
const keywords: Readonly<Record<string, readonly string[]>> = {
  string: ['minLength', 'maxLength', 'pattern'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: [],
  boolean: [],
  null: [],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  object: ['properties', 'required', 'additionalProperties'],
}

/** The grammar of the JSON texts that a schema allows. Throws an error that names what it cannot do. */
export function schemaGrammar(schema: JsonSchema): Grammar {
  const compiler = new Compiler(schema)
  return { rules: compiler.rules, root: compiler.refer('#') }
}

class Compiler {
  readonly rules = new Map(anyRules)
  readonly #document: JsonSchema

  constructor(document: JsonSchema) {
    this.#document = document
  }

  /** The rule of the schema at a JSON pointer, compiled once. */
  refer(pointer: string): string {
    if (this.rules.has(pointer)) return pointer
    this.rules.set(pointer, text(''))
    this.rules.set(pointer, this.#schema(resolve(this.#document, pointer), pointer))
    return pointer
  }

  /** A schema as an expression; `at` is its place, for messages. */
  #schema(schema: unknown, at: string): Expression {
    if (schema === true) return anyValue
    if (schema === false) fail(at, 'false allows no value at all')
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) fail(at, 'is not a schema')
    const given = schema as Fields
    const keys = Object.keys(given).filter((key) => !annotations.includes(key))
    const alone = (key: string, beside: readonly string[] = []): void => {
      const other = keys.find((one) => one !== key && !beside.includes(one))
      if (other) fail(at, `'${other}' beside '${key}' is not supported`)
    }
    if ('$ref' in given) {
      alone('$ref')
      if (typeof given.$ref !== 'string') fail(at, "'$ref' must be a text")
      return refer(this.refer(given.$ref))
    }
    if ('const' in given || 'enum' in given) {
      alone('const' in given ? 'const' : 'enum', ['type'])
      return oneOfValues(given, at)
    }
    for (const key of ['anyOf', 'oneOf', 'allOf'])
      if (key in given) {
        alone(key)
        return this.#branches(key, given[key], at)
      }
    const types = typesOf(given, at)
    const unknown = keys.find((key) => key !== 'type' && !types.some((type) => keywords[type]!.includes(key)))
    if (unknown)
      fail(
        at,
        `the keyword '${unknown}' is not supported${'type' in given ? ` for ${types.join(', ')}` : ''}`,
      )
    if (keys.length === 0) return anyValue
    return choice(...types.map((type) => this.#type(type, given, at)))
  }

  #branches(key: string, value: unknown, at: string): Expression {
    const schemas = list(value, `${at}/${key}`)
    if (key === 'allOf' && schemas.length !== 1)
      fail(at, "'allOf' of several schemas is not supported: merge them")
    if (schemas.length === 0) fail(at, `'${key}' is empty`)
    const looked = schemas.map((schema) => this.#follow(schema))
    if (key === 'oneOf')
      for (const [i, one] of looked.entries())
        for (const other of looked.slice(i + 1))
          if (!disjoint(one, other))
            fail(
              at,
              "the schemas of 'oneOf' may overlap: use 'anyOf', or give each a property with its own 'const'",
            )
    return choice(...schemas.map((schema, i) => this.#schema(schema, `${at}/${key}/${i}`)))
  }

  /** A schema, or what it refers to. */
  #follow(schema: unknown): unknown {
    const target = (schema as Fields | null)?.$ref
    return typeof target === 'string' ? resolve(this.#document, target) : schema
  }

  #type(type: string, given: Fields, at: string): Expression {
    switch (type) {
      case 'string':
        return stringType(given, at)
      case 'integer':
        return integerType(given, at)
      case 'number':
        return number
      case 'boolean':
        return choice(text('true'), text('false'))
      case 'null':
        return text('null')
      case 'array':
        return this.#array(given, at)
      default:
        return this.#object(given, at)
    }
  }

  /** A part of a schema as a rule of its own: it may be used in several places. */
  #rule(schema: unknown, at: string): Expression {
    if (!this.rules.has(at)) this.rules.set(at, this.#schema(schema, at))
    return refer(at)
  }

  #array(given: Fields, at: string): Expression {
    const first = 'prefixItems' in given ? list(given.prefixItems, `${at}/prefixItems`) : []
    const [min, most] = limits(given, 'minItems', 'maxItems', at)
    const closed = given.items === false
    const max = closed ? Math.min(most, first.length) : most
    if (min > max) fail(at, `'minItems' ${min} is more than the ${max} items that there can be`)
    return arrayOf(
      first.map((schema, i) => this.#rule(schema, `${at}/prefixItems/${i}`)),
      closed ? sequence() : this.#rule(given.items ?? true, `${at}/items`),
      min,
      max,
    )
  }

  #object(given: Fields, at: string): Expression {
    const properties = given.properties ?? {}
    if (!isFields(properties)) fail(at, "'properties' must be an object")
    const required = 'required' in given ? namesIn(given.required, `${at}/required`) : []
    const names = [...new Set([...Object.keys(properties), ...required])]
    // Without named properties any are meant; with them, those.
    const others = given.additionalProperties ?? !('properties' in given)
    const undeclared = required.find((name) => !Object.hasOwn(properties, name))
    if (undeclared !== undefined && given.additionalProperties === false)
      fail(at, `'${undeclared}' is required, but not among the properties`)
    return objectOf(
      names.map((name) => ({
        name,
        required: required.includes(name),
        value: Object.hasOwn(properties, name)
          ? this.#rule(properties[name], `${at}/properties/${escapePointer(name)}`)
          : this.#rule(others === false ? true : others, `${at}/additionalProperties`),
      })),
      others === false ? undefined : this.#rule(others, `${at}/additionalProperties`),
    )
  }
}

function typesOf(given: Fields, at: string): string[] {
  const types = 'type' in given ? [given.type].flat() : Object.keys(keywords)
  for (const type of types)
    if (typeof type !== 'string' || !Object.hasOwn(keywords, type))
      fail(at, `there is no type ${JSON.stringify(type)}`)
  return types as string[]
}

function oneOfValues(given: Fields, at: string): Expression {
  const values = 'const' in given ? [given.const] : list(given.enum, `${at}/enum`)
  const types = typesOf(given, at)
  const fitting = values.filter((value) => types.some((type) => hasType(value, type)))
  if (fitting.length === 0) fail(at, "no value of 'enum' or 'const' has the 'type'")
  return choice(...fitting.map(literal))
}

function hasType(value: unknown, type: string): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'null') return value === null
  return typeof value === type && value !== null && !Array.isArray(value)
}

function stringType(given: Fields, at: string): Expression {
  const { pattern, minLength, maxLength } = given
  if (pattern === undefined) return stringOf(...limits(given, 'minLength', 'maxLength', at))
  if (typeof pattern !== 'string') fail(at, "'pattern' must be a text")
  if (minLength !== undefined || maxLength !== undefined)
    fail(at, "'pattern' beside 'minLength' or 'maxLength' is not supported: write {m,n} in the pattern")
  return stringLike(pattern)
}

function integerType(given: Fields, at: string): Expression {
  const bound = (key: string): number | undefined => {
    const value = given[key]
    if (value !== undefined && typeof value !== 'number') fail(at, `'${key}' must be a number`)
    return value as number | undefined
  }
  const above = bound('exclusiveMinimum')
  const below = bound('exclusiveMaximum')
  const lowest = Math.max(
    ...[bound('minimum'), above === undefined ? above : Math.floor(above) + 1].map((n) => n ?? -Infinity),
  )
  const highest = Math.min(
    ...[bound('maximum'), below === undefined ? below : Math.ceil(below) - 1].map((n) => n ?? Infinity),
  )
  const [min, max] = [Math.ceil(lowest), Math.floor(highest)]
  if (min > max) fail(at, `there is no whole number from ${lowest} to ${highest}`)
  return min === -Infinity && max === Infinity ? integer : integerBetween(min, max)
}

function limits(given: Fields, least: string, most: string, at: string): [min: number, max: number] {
  const read = (key: string, byDefault: number): number => {
    const value = given[key] ?? byDefault
    if (value === Infinity || (Number.isInteger(value) && (value as number) >= 0)) return value as number
    return fail(at, `'${key}' must be a whole number`)
  }
  const [min, max] = [read(least, 0), read(most, Infinity)]
  if (min > max) fail(at, `'${least}' ${min} is above '${most}' ${max}`)
  return [min, max]
}

function list(value: unknown, at: string): unknown[] {
  return Array.isArray(value) ? value : fail(at, 'must be a list')
}

function namesIn(value: unknown, at: string): string[] {
  const names = list(value, at)
  if (!names.every((name): name is string => typeof name === 'string')) fail(at, 'must be a list of texts')
  return names
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const escapePointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** What a pointer such as `#/$defs/item` leads to in the same document. */
function resolve(document: JsonSchema, pointer: string): unknown {
  if (!/^#(\/|$)/.test(pointer)) fail(pointer, "a '$ref' outside of the schema is not supported")
  let at: unknown = document
  for (const part of pointer.split('/').slice(1)) {
    const key = decoded(part, pointer).replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key))
      fail(pointer, "'$ref' leads nowhere")
    at = (at as Fields)[key]
  }
  return at
}

function decoded(part: string, pointer: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return fail(pointer, "'$ref' has a % that begins no character")
  }
}

function fail(at: string, reason: string): never {
  throw new Error(`JSON schema, ${at}: ${reason}`)
}
