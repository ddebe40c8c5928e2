/** What pages of the studio ask: a function with a name and a schema, over models that run in the engine's thread. */
import type * as z from 'zod'
import type { Explanations } from '../interp/sae/explain/explanations.ts'
import type { Sae } from '../interp/sae/sae.ts'
import type { Edits, Model } from '../model/index.ts'
import type { OpenDecoder, Pool } from '../serve/host/pool.ts'
import type { ControlVector } from '../steer/browser.ts'

/** Control vectors that were made here, by name. */
export interface Steers {
  /** `file` is what the method control-vector takes. */
  list(): readonly { readonly name: string; readonly file: string }[]
  keep(name: string, vector: ControlVector): string
  /** Edits by strength. Throws for a name that there is not. */
  open(name: string, model: Model): (strength: number) => Edits
}

/** A sparse autoencoder with what its features are said to be. */
export interface OpenedSae {
  /** What the option `sae` of methods takes. */
  readonly folder: string
  readonly sae: Sae
  readonly explanations: Explanations
}

/** SAEs by name. */
export interface Saes {
  readonly names: readonly string[]
  /** Throws for a name that there is not. */
  open(name: string): Promise<OpenedSae>
}

/** What operations work with. */
export interface Bench {
  readonly pool: Pick<Pool, 'with' | 'streamWith' | 'list' | 'pathOf'>
  readonly saes: Saes
  readonly steers: Steers
  /** A folder for training runs. */
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
