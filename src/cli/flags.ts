/** From an options schema to commander's flags, and from what they were given to checked options. */
import { type Command, Option } from 'commander'
import { explain, type Field, fieldsOf as fieldsOfSchema, isNumber, readValue } from '../method/index.ts'
import { type Flag, UsageError, type Verb } from './verb.ts'

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
/** The key under which commander files a long flag. */
const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())

const longName = (key: string, flag: Flag | undefined): string => flag?.name ?? kebab(key)
/** Lists of numbers are one argument, `3,17,42`; other lists are a flag given again and again. */
const isRepeated = ({ type, items }: Field): boolean => type === 'array' && !isNumber(items!)

const fieldsOf = ({ options, flags = {} }: Verb): [key: string, field: Field, flag: Flag | undefined][] =>
  Object.entries(fieldsOfSchema(options)).map(([key, field]) => [key, field, flags[key]])

function placeholder({ type, items, enum: values }: Field): string {
  if (values) return values.join('|')
  if (type === 'object') return 'JSON'
  if (type === 'array') return isNumber(items!) ? '3,17,42' : placeholder(items!)
  return isNumber({ type: type! }) ? 'N' : 'TEXT'
}

function help(field: Field): string {
  const shown = Array.isArray(field.default) || field.default === false ? undefined : field.default
  const notes = [
    ...(shown === undefined ? [] : [`default ${shown}`]),
    ...(isRepeated(field) ? ['repeatable'] : []),
  ]
  return `${field.description ?? ''}${notes.length > 0 ? ` (${notes.join('; ')})` : ''}`
}

/** Declares the flags of a verb's options. */
export function addFlags(command: Command, verb: Verb): void {
  for (const [key, field, flag] of fieldsOf(verb)) {
    if (key === verb.argument) {
      const name = flag?.value ?? key
      const needed = !verb.options.shape[key]!.safeParse(undefined).success
      command.argument(needed ? `<${name}>` : `[${name}]`, help(field))
      continue
    }
    const names = [longName(key, flag), ...(flag?.also ?? [])]
    names.forEach((name, i) => {
      const short = i === 0 && flag?.short ? `-${flag.short}, ` : ''
      const value = field.type === 'boolean' ? '' : ` <${flag?.value ?? placeholder(field)}>`
      const option = new Option(`${short}--${name}${value}`, help(field)).hideHelp(i > 0)
      if (isRepeated(field))
        option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text])
      command.addOption(option)
    })
  }
}

/** Checks what commander found and gives the options; throws a UsageError that names the flag. */
export function readFlags(verb: Verb, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const raw: Record<string, unknown> = {}
  const written = new Map<string, string>()
  for (const [key, field, flag] of fieldsOf(verb)) {
    const names = [longName(key, flag), ...(flag?.also ?? [])].filter(
      (name) => given[camel(name)] !== undefined,
    )
    if (names.length > 1)
      throw new UsageError(`${names.map((name) => `--${name}`).join(' and ')} are the same`)
    written.set(key, key === verb.argument ? (flag?.value ?? key) : `--${names[0] ?? longName(key, flag)}`)
    if (names[0] !== undefined) raw[key] = parse(given[camel(names[0])], field, written.get(key)!)
  }
  const result = verb.options.safeParse(raw)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  const [key] = issue.path as [string]
  if (raw[key] === undefined) throw new UsageError(`${written.get(key)} is missing`)
  throw new UsageError(`${written.get(key)} ${show(raw[key])}: ${explain(issue)}`)
}

const show = (value: unknown): string =>
  Array.isArray(value) ? value.map(show).join(' ') : value === '' ? "''" : `${value}`

/** A flag's text as the value that the schema expects; a flag without a value is there or not. */
function parse(value: unknown, field: Field, flag: string): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => parse(item, field.items!, flag))
  if (typeof value !== 'string') return value
  try {
    return readValue(value, field)
  } catch (error) {
    throw new UsageError(`${flag} ${value || "''"}: ${(error as Error).message}`)
  }
}
