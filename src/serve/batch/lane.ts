/** Rows that run in one batch: one model under one set of edits, over one cache. */
import { tensor } from '../../array/index.ts'
import type { Row } from '../../decode/row.ts'
import type { Cache } from '../../model/cache.ts'
import type { Edits, Model } from '../../model/index.ts'
import type { Slots } from './slots.ts'

/** A row that has a slot. */
export interface Active {
  readonly row: Row
  /** Room that its slot must have: the prompt and what may be generated. */
  readonly room: number
  /** Tokens to read: what is left of the prompt, then the last one generated. */
  fresh: number[]
  /** Takes the logits of the row's last token, f32 [vocab]; the token that follows. */
  advance(logits: Float32Array): number
  fail(error: unknown): void
  readonly cancelled: boolean
}

export interface LaneCounts {
  steps: number
  promptTokens: number
  reusedTokens: number
  generatedTokens: number
}

/**
 * Slots 0 to n - 1 belong to the rows that generate, in their order; the next one to a prompt that is being read. The
 * others are free, and remember what they held for a prompt that begins so.
 */
export class Lane {
  readonly edit: Edits
  readonly slots: Slots
  readonly #model: Model
  readonly #chunk: number
  readonly #counts: LaneCounts
  readonly #rows: Active[] = []
  #reading: Active | undefined
  /** When each slot was last given, for the one to forget. */
  readonly #used = new WeakMap<number[], number>()
  #clock = 0

  /** `chunk`: most tokens of a prompt that are read before the other rows go on. */
  constructor(
    model: Model,
    edit: Edits,
    slots: Slots,
    options: { readonly chunk: number; readonly counts: LaneCounts },
  ) {
    this.#model = model
    this.edit = edit
    this.slots = slots
    this.#chunk = options.chunk
    this.#counts = options.counts
  }

  get running(): number {
    return this.#rows.length + (this.#reading ? 1 : 0)
  }

  /** Prompts are read one after the other: whether the next one can begin. */
  get open(): boolean {
    return !this.#reading && this.#rows.length < this.slots.count
  }

  /** Gives a row the slot that already holds most of its prompt, or the one unused for longest. */
  admit(active: Active): void {
    const { slots } = this
    const place = this.#rows.length
    const prompt = active.fresh
    const free = Array.from({ length: slots.count - place }, (_, i) => place + i)
    const best = (among: readonly number[]): { slot: number; length: number } =>
      among
        .map((slot) => ({ slot, length: slots.common(slot, prompt) }))
        .reduce((a, b) => (b.length > a.length ? b : a), { slot: -1, length: 0 })
    const own = best(free)
    // A row that goes on cannot give its slot away, but a copy of its beginning.
    const other = slots.remembersEvery
      ? best(Array.from({ length: place }, (_, i) => i))
      : { slot: -1, length: 0 }
    const last = (slot: number): number => this.#used.get(slots.tokens[slot]!) ?? 0
    const oldest = free.reduce((a, b) => (last(b) < last(a) ? b : a))
    const shared = other.length > own.length
    slots.swap(shared || own.length === 0 ? oldest : own.slot, place)
    const { length } = shared ? other : own
    if (shared) slots.copy(other.slot, place, length)
    else slots.cut(place, length)
    this.#used.set(slots.tokens[place]!, ++this.#clock)
    active.fresh = prompt.slice(length)
    this.#counts.reusedTokens += length
    this.#reading = active
  }

  /** Takes off rows that nobody waits for any more. */
  sweep(): void {
    if (this.#reading?.cancelled) this.#reading = undefined
    for (let i = this.#rows.length - 1; i >= 0; i--) if (this.#rows[i]!.cancelled) this.#retire(i)
  }

  /** Reads on in the prompt that is being read, then gives every row its next token. */
  async step(): Promise<void> {
    await this.#read()
    await this.#generate()
  }

  async #read(): Promise<void> {
    const active = this.#reading
    if (!active) return
    const place = this.#rows.length
    const part = active.fresh.slice(0, this.#chunk)
    try {
      const logits = await this.#run(place, [part])
      this.#counts.promptTokens += part.length
      active.fresh = active.fresh.slice(part.length)
      if (active.fresh.length > 0) return
      this.#reading = undefined
      this.#rows.push(active)
      this.#advance(place, logits)
      if (active.row.finish !== undefined) this.#retire(place)
    } catch (error) {
      this.#reading = undefined
      this.slots.clear(place)
      active.fail(error)
    }
  }

  async #generate(): Promise<void> {
    const rows = [...this.#rows]
    if (rows.length === 0) return
    try {
      const logits = await this.#run(
        0,
        rows.map(({ fresh }) => fresh),
      )
      for (const i of rows.keys()) this.#advance(i, logits)
    } catch (error) {
      // What a step that failed has left in the cache is nothing to go on from.
      for (const [i, row] of rows.entries()) {
        row.fail(error)
        this.slots.clear(i)
      }
      this.#rows.length = 0
      return
    }
    for (let i = rows.length - 1; i >= 0; i--) if (rows[i]!.row.finish !== undefined) this.#retire(i)
  }

  /** Runs the rows of `tokens` in the slots from `from` on; f32 [rows, vocab]. */
  async #run(from: number, tokens: readonly number[][]): Promise<Float32Array> {
    const { slots } = this
    const lengths = Int32Array.from(tokens, (_, i) => slots.tokens[from + i]!.length)
    const cache: Cache = slots.cache(from, tokens.length)
    const { logits, cache: kept } = await this.#model.step(
      {
        tokens: this.#model.rows(tokens),
        cache,
        lengths: tensor(lengths),
        at: tensor(Int32Array.from(tokens, (row) => row.length - 1)),
      },
      { edit: this.edit },
    )
    await slots.keep(from, kept)
    for (const [i, row] of tokens.entries()) slots.tokens[from + i]!.push(...row)
    this.#counts.steps++
    const values = ((await logits.load()) as Float32Array).slice()
    logits.dispose()
    return values
  }

  /** Gives the row at `index` of a batch its logits. */
  #advance(index: number, logits: Float32Array): void {
    const active = this.#rows[index]!
    const { vocab } = this.#model.spec
    const own = logits.length === vocab ? logits : logits.slice(index * vocab, (index + 1) * vocab)
    try {
      active.fresh = [active.advance(own)]
      this.#counts.generatedTokens++
    } catch (error) {
      active.fail(error)
      active.row.finish = 'stop'
    }
  }

  /** Frees the slot of a row: the last row takes its place. A prompt being read stays behind the rows. */
  #retire(index: number): void {
    const last = this.#rows.length - 1
    this.slots.swap(index, last)
    this.#rows[index] = this.#rows[last]!
    this.#rows.pop()
    if (this.#reading) this.slots.swap(last, last + 1)
  }
}
