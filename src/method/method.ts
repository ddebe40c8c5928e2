/**
 * A method is a value: what a published idea is called, where it plugs in, what it can be asked for, and how it is
 * made. One file each; the file's default export is its registration (`npm run build` collects them).
 */
import type * as z from 'zod'

/** Where a method plugs in, and what `make` gives there. */
export const sockets = [
  'adapter',
  'architecture',
  'cache',
  'compressor',
  'curriculum',
  'datastore',
  'drafter',
  'edit',
  'embedder',
  'exit',
  'judge',
  'language-model',
  'lens',
  'objective',
  'program',
  'router',
  'rule',
  'task',
  'tokenizer',
] as const
export type Socket = (typeof sockets)[number]

export interface Method<
  S extends z.ZodType = z.ZodType,
  // biome-ignore lint/suspicious/noExplicitAny: sockets differ in what they take and give
  Make extends (options: any) => unknown = (options: any) => unknown,
> {
  /** In lower case with hyphens, and the name of its file in camel case. */
  readonly id: string
  readonly title: string
  readonly socket: Socket
  /** Its number in the list of papers that glossa implements, where it has one. */
  readonly paper?: number
  /** Authors, year, and where to find it. */
  readonly source: string
  /** What it does, in one sentence. */
  readonly summary: string
  /** Feeds the command line, recipes and the docs. */
  readonly options: S
  readonly make: Make
}

/** Infers the types of the options. */
export const method = <S extends z.ZodType, R>(
  definition: Omit<Method<S>, 'make'> & { readonly make: (options: z.output<S>) => R },
): Method<S, (options: z.output<S>) => R> => definition
