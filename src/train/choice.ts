/** Options as schemas, and tables of them from which a recipe selects by `kind`. */
import * as z from 'zod'

const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ')

/** Checks options; unknown and impossible ones are errors that name the option and the choices. */
export function readOptions<S extends z.ZodObject>(schema: S, options: unknown, what: string): z.output<S> {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const issues = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys' && issue.path.length === 0
      ? `there is no option ${quoted(issue.keys)}; there are: ${Object.keys(schema.shape).join(', ')}`
      : `${issue.path.join('.') || 'options'}: ${issue.message}`,
  )
  throw new Error(`${what}: ${issues.join('; ')}`)
}

/** Takes `kind` off a recipe: an entry of the table, and the other options. Throws for one that is not there. */
export function chooseKind<T extends object>(
  table: T,
  recipe: unknown,
  what: string,
): { kind: keyof T & string; rest: Record<string, unknown> } {
  const read = z.looseObject({ kind: z.string() }).safeParse(recipe)
  const kinds = Object.keys(table).join(', ')
  if (!read.success) throw new Error(`${what}: needs an object with a 'kind', one of: ${kinds}`)
  const { kind, ...rest } = read.data
  if (!Object.hasOwn(table, kind)) throw new Error(`${what}: there is no kind '${kind}'; there are: ${kinds}`)
  return { kind: kind as keyof T & string, rest }
}
