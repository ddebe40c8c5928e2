/** What pages of the studio ask: a function with a name and a schema, over models that run in the engine's thread. */
import type * as z from 'zod'
import type { OpenDecoder, Pool } from '../serve/host/pool.ts'

/** What operations work with. */
export interface Bench {
  readonly pool: Pick<Pool, 'with' | 'streamWith' | 'list' | 'pathOf'>
  /** Folders of SAEs by name. */
  readonly saes: Readonly<Record<string, string>>
  /** A folder for what is made here: steers, runs. */
  readonly folder: string
  /** The folder of measured results. */
  readonly results: string
}

export interface Operation<S extends z.ZodType = z.ZodType> {
  readonly name: string
  readonly input: S
  /** Async iterables are streams. */
  run(bench: Bench, input: z.output<S>, signal: AbortSignal): unknown
}

export const operation = <S extends z.ZodType>(definition: Operation<S>): Operation =>
  definition as unknown as Operation

/** A decoder for as long as `use` runs. */
export const withModel = <T>(
  { pool }: Bench,
  name: string,
  use: (open: OpenDecoder) => Promise<T>,
): Promise<T> =>
  pool.with(name, (open) => {
    if (open.kind !== 'decoder') throw new Error(`'${name}' is an encoder: the studio shows decoders`)
    return use(open)
  })

export const streamModel = <T>(
  { pool }: Bench,
  name: string,
  use: (open: OpenDecoder) => AsyncIterable<T>,
): AsyncGenerator<T, void, void> =>
  pool.streamWith(name, (open) => {
    if (open.kind !== 'decoder') throw new Error(`'${name}' is an encoder: the studio shows decoders`)
    return use(open)
  })
