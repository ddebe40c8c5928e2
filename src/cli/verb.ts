/** A verb of the command line as a value: its options are a schema, from which flags and help are made. */
import type * as z from 'zod'

/** How an option is written, where that is not `--kebab-case` of its key. */
export interface Flag {
  /** Long name. */
  readonly name?: string
  /** One letter. */
  readonly short?: string
  /** Other long names that people know; not shown in help. */
  readonly also?: readonly string[]
  /** What stands for the value in help. */
  readonly value?: string
}

export type Flags<S extends z.ZodObject> = { readonly [K in keyof S['shape']]?: Flag }

export interface Verb<S extends z.ZodObject = z.ZodObject> {
  readonly name: string
  readonly summary: string
  readonly options: S
  readonly flags?: Flags<S>
  /** The option that needs no flag: it stands behind the verb. */
  readonly argument?: keyof S['shape'] & string
  /** More help, shown after the options. */
  readonly notes?: string
  /** Resolves to the exit code, 0 by default. */
  run(options: z.output<S>): Promise<number | undefined>
}

/** Infers the options' types. */
export const verb = <S extends z.ZodObject>(definition: Verb<S>): Verb => definition as unknown as Verb

/** A command line that cannot be meant: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
