import type { z } from 'zod'
import { type Place, quote } from '../errors.ts'

/** One `type` of tokenizer.json component: reads its JSON, strictly, and builds what it means. */
export type Component<T> = (json: unknown, place: Place) => T

/** All types of one section. */
export type ComponentTable<T> = Readonly<Record<string, Component<T>>>

/** Checks a JSON value against its schema; what does not fit is an error at its place. */
export function parse<Schema extends z.ZodType>(
  schema: Schema,
  json: unknown,
  place: Place,
): z.output<Schema> {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]!
  return path
    .reduce((at: Place, key) => at.at(typeof key === 'number' ? key : String(key)), place)
    .fail(message)
}

/** A component with these fields. Fields that are not listed are errors: ignoring one may change the tokens. */
export function component<Fields extends z.ZodType, T>(
  fields: Fields,
  make: (options: z.output<Fields>, place: Place) => T,
): Component<T> {
  return (json, place) => make(parse(fields, json, place), place)
}

/** Builds the component that `json.type` names. */
export function build<T>(table: ComponentTable<T>, section: string, json: unknown, place: Place): T {
  if (place.depth > 32) place.fail('nested too deeply')
  if (typeof json !== 'object' || json === null) place.fail(`expected a ${section}, found ${quote(json)}`)
  const type = (json as { type?: unknown }).type
  if (typeof type !== 'string' || !Object.hasOwn(table, type)) {
    return place.at('type').fail(`unknown ${section} ${quote(type)}; known: ${Object.keys(table).join(', ')}`)
  }
  return table[type]!(json, place)
}

/** Builds each component of a `Sequence`. */
export function buildAll<T>(table: ComponentTable<T>, section: string, list: unknown[], place: Place): T[] {
  return list.map((json, i) => build(table, section, json, place.at(i)))
}
