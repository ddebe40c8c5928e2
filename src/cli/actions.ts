/** Verbs that do several things, `glossa steer fit`: each of them has options of its own. */
import { UsageError } from './verb.ts'

/** An option as it is typed. */
export const flagOf = (key: string): string =>
  `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** What an option that was left out has: no value, or that of a switch. */
const isGiven = (value: unknown): boolean => value !== undefined && value !== false

/** Refuses an option of another action. `does` is the verb with its action. */
export function onlyOwn(
  does: string,
  given: Readonly<Record<string, unknown>>,
  own: readonly string[],
): void {
  const foreign = Object.keys(given).find((key) => isGiven(given[key]) && !own.includes(key))
  if (foreign !== undefined) throw new UsageError(`${flagOf(foreign)} is not for ${does}`)
}

/** The value of an option that an action cannot do without. */
export function needed<T>(does: string, key: string, value: T | undefined): T {
  if (value === undefined) throw new UsageError(`${flagOf(key)} is missing: ${does} needs it`)
  return value
}
