/** What every kind of model shares: compiled programs by what they read and edit, and the rows that go in. */
import { Tensor, tensor } from '../array/index.ts'
import { editKey, withArguments } from './edits.ts'
import { type TapOptions, Taps } from './taps.ts'

/** What is compiled for one purpose. */
interface Kept {
  readonly compilations: number
  dispose(): void
}
/** Programs over one model, by name. */
type Group = { readonly [name: string]: Kept }

/** Sets of reads and edits whose programs are kept, least recently used first out. */
const keptGroups = 32

/** The programs of a model for each set of reads and edits, made when first asked for. */
export class Programs<G extends Group> {
  readonly #sites: ConstructorParameters<typeof Taps>[0]
  readonly #make: (taps: TapOptions) => G
  readonly #groups = new Map<string, G>()

  /** `sites` are those that can be read and edited: a decoder's, or the ones given. */
  constructor(sites: ConstructorParameters<typeof Taps>[0], make: (taps: TapOptions) => G) {
    this.#sites = sites
    this.#make = make
  }

  /**
   * The programs of these reads and edits, made without the edits' arguments, which go in at run time. Throws for sites
   * that the model does not have, before anything is compiled.
   */
  of(taps: TapOptions): G {
    const key = tapKey(taps)
    const known = this.#groups.get(key)
    // Newest last.
    this.#groups.delete(key)
    if (known) {
      this.#groups.set(key, known)
      return known
    }
    new Taps(this.#sites, taps)
    const made = this.#make({ ...taps, edit: withArguments(taps.edit, {}) })
    this.#groups.set(key, made)
    // Programs that nobody runs any more release their sessions when they are collected.
    if (this.#groups.size > keptGroups) this.#groups.delete(this.#groups.keys().next().value!)
    return made
  }

  get #kept(): Kept[] {
    return [...this.#groups.values()].flatMap((group) => Object.values(group))
  }

  /** How many programs are compiled and kept. */
  get compilations(): number {
    return this.#kept.reduce((sum, { compilations }) => sum + compilations, 0)
  }

  dispose(): void {
    for (const program of this.#kept) program.dispose()
    this.#groups.clear()
  }
}

/** Equal reads and the same edit functions share programs. */
const tapKey = ({ read = [], edit }: TapOptions): string => `${read.join(',')};${editKey(edit)}`

/** Rows of token ids: i32 [rows, T], or lists of equal length. */
export type TokenRows = Tensor | readonly (readonly number[])[]

export interface RowLimits {
  readonly vocab: number
  /** What to do about rows of different lengths, for the message. */
  readonly remedy: string
  /** Throws where rows of this length do not fit. */
  checkLength(length: number): void
}

/** Rows as an i32 tensor; throws for rows of different lengths and ids outside the vocabulary. */
export function tokenRows(tokens: TokenRows, { vocab, remedy, checkLength }: RowLimits): Tensor {
  const check = (id: number): void => {
    if (!Number.isInteger(id) || id < 0 || id >= vocab)
      throw new RangeError(`token ${id} is outside the vocabulary of ${vocab}`)
  }
  if (tokens instanceof Tensor) {
    for (const id of tokens.data) check(Number(id))
    checkLength(tokens.sizes.at(-1)!)
    return tokens
  }
  const [first] = tokens
  if (!first || first.length === 0) throw new Error('there are no tokens')
  checkLength(first.length)
  for (const row of tokens) {
    if (row.length !== first.length)
      throw new Error(`rows of ${first.length} and ${row.length} tokens in one batch; ${remedy}`)
    for (const id of row) check(id)
  }
  return tensor(Int32Array.from(tokens.flat()), [tokens.length, first.length])
}
