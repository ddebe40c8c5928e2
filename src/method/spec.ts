/** A method and its options in one text: `id:key=value,key=value`. */
import type * as z from 'zod'
import { closest } from './closest.ts'
import { explain, fieldsOf, readValue } from './fields.ts'

export interface MethodSpec {
  readonly id: string
  /** Options as they were written. */
  readonly given: ReadonlyMap<string, string>
}

/** What comes after a comma without a `=` goes on with the value before it: `layers=3,4,5` is one option. */
export function parseMethodSpec(text: string): MethodSpec {
  const at = text.indexOf(':')
  const id = (at < 0 ? text : text.slice(0, at)).trim()
  if (id === '') throw new Error(`'${text}' names no method: write id:key=value,key=value`)
  const given = new Map<string, string>()
  let last: string | undefined
  for (const part of at < 0 || at === text.length - 1 ? [] : text.slice(at + 1).split(',')) {
    const equals = part.indexOf('=')
    if (equals > 0) {
      last = part.slice(0, equals).trim()
      if (given.has(last)) throw new Error(`${id}: '${last}' is given twice`)
      given.set(last, part.slice(equals + 1))
    } else if (last === undefined || equals === 0)
      throw new Error(`${id}: '${part}' is no option: write key=value`)
    else given.set(last, `${given.get(last)},${part}`)
  }
  return { id, given }
}

/** Checks options against the method's schema; every error names the option and the way out. */
export function readMethodOptions<S extends z.ZodType>({ id, given }: MethodSpec, schema: S): z.output<S> {
  const fields = fieldsOf(schema)
  const names = Object.keys(fields)
  const there = names.length > 0 ? `there are: ${names.join(', ')}` : 'it takes none'
  const raw: Record<string, unknown> = {}
  for (const [key, text] of given) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined
    if (!field) {
      const [near] = closest(key, names)
      throw new Error(
        `${id}: there is no option '${key}'${near ? `; did you mean '${near}'?` : ''}; ${there}`,
      )
    }
    try {
      raw[key] = readValue(text, field)
    } catch (error) {
      throw new Error(`${id}: ${key}=${text}: ${(error as Error).message}`)
    }
  }
  const result = schema.safeParse(raw)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  const key = String(issue.path[0] ?? '')
  if (key !== '' && !given.has(key))
    throw new Error(`${id}: the option '${key}' is missing (${fields[key]?.description ?? ''}); ${there}`)
  throw new Error(`${id}: ${key === '' ? '' : `${key}=${given.get(key)}: `}${explain(issue)}`)
}
