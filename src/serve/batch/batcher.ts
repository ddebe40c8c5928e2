/**
 * Continuous batching (Yu et al. 2022, Orca): requests join and leave the batch between two steps, so that no row
 * waits for another one's end. Rows share one cache; a prompt that begins like one that is remembered is read from
 * there on. Long prompts are read in chunks, with the other rows going on in between.
 */
import type { Context } from '../../decode/generate.ts'
import { generate } from '../../decode/index.ts'
import { checkBeams, type GenerateOptions, parseOptions, rulesOf } from '../../decode/options.ts'
import { type GenerateEvent, Row } from '../../decode/row.ts'
import { ruleOf } from '../../decode/rule.ts'
import { sameEdits } from '../../model/edits.ts'
import type { Edits, Model } from '../../model/index.ts'
import { type Active, Lane, type LaneCounts } from './lane.ts'
import { FairQueue } from './queue.ts'
import { Layout, Slots } from './slots.ts'

export interface BatcherOptions {
  /** Most rows that run at once. */
  readonly slots?: number
  /** Most tokens of a prompt that are read before the other rows go on. */
  readonly chunk?: number
  /** Most requests that wait. */
  readonly queue?: number
  /** Bytes that all caches together may take. */
  readonly memory?: number
}

export interface BatchContext extends Pick<Context, 'signal' | 'constrain' | 'rules' | 'edit'> {
  /** Who asks: callers take turns. */
  readonly caller?: string
}

export interface BatcherStats extends Readonly<LaneCounts> {
  readonly running: number
  readonly queued: number
  readonly slots: number
}

/** There is no place in the queue: the caller can try again later. */
export class QueueFull extends Error {
  override readonly name = 'QueueFull'
  readonly code = 'queue_full'
}

interface Request extends Active {
  readonly edit: Edits
}

/** Sets of edits that have a cache at once. */
const mostLanes = 4
/** Room that slots begin with. */
const firstCapacity = 256

export class Batcher {
  readonly #model: Model
  readonly #most: number
  readonly #chunk: number
  readonly #places: number
  readonly #memory: number
  readonly #queue = new FairQueue<Request>()
  readonly #counts: LaneCounts = { steps: 0, promptTokens: 0, reusedTokens: 0, generatedTokens: 0 }
  /** Last made or widened last. */
  #lanes: Lane[] = []
  /** Requests that wait for the rows of a lane to end, so that its slots can become larger. */
  readonly #blocked = new WeakMap<Lane, Request>()
  #layout: Layout | undefined
  #loop: Promise<void> | undefined
  #closed = false
  /** Where a row cannot share a batch: on devices, whose memory this does not reach, one goes after the other. */
  readonly #serial: boolean
  #turn: Promise<void> = Promise.resolve()
  #turns = 0

  constructor(model: Model, options: BatcherOptions = {}) {
    const { slots = 16, chunk = 256, queue = 1024, memory = 2 ** 30 } = options
    for (const [name, value] of Object.entries({ slots, chunk, queue, memory }))
      if (!Number.isInteger(value) || value < 1)
        throw new RangeError(`${name} ${value}: a whole number above 0 is needed`)
    this.#model = model
    this.#most = slots
    this.#chunk = chunk
    this.#places = queue
    this.#memory = memory
    this.#serial = model.engine.provider !== 'cpu'
  }

  get stats(): BatcherStats {
    return {
      ...this.#counts,
      running: this.#lanes.reduce((sum, { running }) => sum + running, 0),
      queued: this.#queue.length,
      slots: this.#most,
    }
  }

  /**
   * Continues one prompt beside all others. Events as `generate` gives them, for row 0. Throws `QueueFull` where too
   * many wait, and a RangeError for what cannot fit the context or the memory. Leaving the loop frees the slot.
   */
  async *generate(
    prompt: readonly number[],
    options: GenerateOptions = {},
    context: BatchContext = {},
  ): AsyncGenerator<GenerateEvent, void, void> {
    yield* this.submit(prompt, options, context)
  }

  /**
   * The same, with its place in the queue taken at once: what `generate` throws at the first event is thrown here. A
   * caller that never begins the loop must abort the signal.
   */
  submit(
    prompt: readonly number[],
    options: GenerateOptions = {},
    context: BatchContext = {},
  ): AsyncGenerator<GenerateEvent, void, void> {
    const { signal } = context
    signal?.throwIfAborted()
    if (this.#closed) throw new Error('the batch is closed')
    const waiting = this.#queue.length + this.#turns
    // Those that a free slot takes at the next step do not wait.
    const free = this.#serial ? 0 : Math.max(0, this.#most - this.stats.running)
    if (waiting >= this.#places + free)
      throw new QueueFull(`${waiting} requests are waiting, which is as many as may`)
    if (this.#serial) return this.#inTurn(prompt, options, context)
    const events: GenerateEvent[] = []
    let wake: (() => void) | undefined
    let failed: { readonly error: unknown } | undefined
    let left = false
    const request = this.#request(prompt, options, context, {
      push: (event) => {
        events.push(event)
        wake?.()
      },
      fail: (error) => {
        failed ??= { error }
        wake?.()
      },
      left: () => left || failed !== undefined,
    })
    const abort = (): void => request.fail(signal!.reason)
    signal?.addEventListener('abort', abort)
    this.#queue.push(context.caller ?? '', request)
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined
    })
    return (async function* () {
      try {
        for (;;) {
          const event = events.shift()
          if (event) {
            yield event
            if (event.finish) return
          } else if (failed) throw failed.error
          else
            await new Promise<void>((resolve) => {
              wake = resolve
            })
        }
      } finally {
        left = true
        signal?.removeEventListener('abort', abort)
      }
    })()
  }

  /** Ends what runs and waits, and lets the memory go. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#loop
    await this.#turn
    this.#lanes = []
  }

  /** One after the other. */
  async *#inTurn(
    prompt: readonly number[],
    options: GenerateOptions,
    { caller: _, ...context }: BatchContext,
  ): AsyncGenerator<GenerateEvent, void, void> {
    const before = this.#turn
    let end = (): void => {}
    this.#turn = new Promise((resolve) => {
      end = resolve
    })
    this.#turns++
    try {
      await before
      for await (const event of generate(this.#model, [prompt], options, context)) {
        if (event.token !== undefined) this.#counts.generatedTokens++
        yield event
      }
    } finally {
      this.#turns--
      end()
    }
  }

  #request(
    prompt: readonly number[],
    options: GenerateOptions,
    { constrain, rules = [], edit = {} }: BatchContext,
    to: { push(event: GenerateEvent): void; fail(error: unknown): void; left(): boolean },
  ): Request {
    const model = this.#model
    const settings = parseOptions(options)
    checkBeams(settings)
    for (const [key, off] of [
      ['samples', 1],
      ['beams', 1],
      ['promptLogprobs', false],
    ] as const)
      if (settings[key] !== off) throw new Error(`generation options: a row of a batch takes no ${key}`)
    if (settings.stop.length > 0 && !model.tokenizer)
      throw new Error(`stop texts need a tokenizer; ${model.path} has none`)
    model.rows([prompt])
    if (prompt.length > model.context)
      throw new RangeError(`a prompt of ${prompt.length} tokens; the model was made for ${model.context}`)
    const ends = new Set(settings.stopTokens ?? model.ends)
    const seed = settings.seed ?? Math.floor(Math.random() * 2 ** 32)
    const own = [
      ...(constrain ? [constrain.rule(ends)] : []),
      ...rulesOf(settings, model.tokenizer),
      ...rules.map(ruleOf),
    ]
    const row = new Row([...prompt], settings, seed, model.tokenizer, own)
    return {
      row,
      edit,
      fresh: [...prompt],
      room: Math.min(model.context, prompt.length + settings.maxTokens),
      advance(logits) {
        const steps = row.advance(logits, 0, settings, { ends, room: model.context })
        for (;;) {
          const { done, value } = steps.next()
          if (done) return value
          to.push(value)
        }
      },
      fail: to.fail,
      get cancelled() {
        return to.left()
      },
    }
  }

  async #run(): Promise<void> {
    for (;;) {
      this.#queue.drop(({ cancelled }) => cancelled)
      for (const lane of this.#lanes) lane.sweep()
      if (this.#closed) {
        const ended = new Error('the batch is closed')
        for (const request of this.#queue.drop(() => true)) request.fail(ended)
        if (this.stats.running === 0) return
      }
      try {
        await this.#admit()
      } catch (error) {
        // Of nobody in particular: everybody who waits is told.
        for (const request of this.#queue.drop(() => true)) request.fail(error)
      }
      if (this.stats.running === 0 && this.#queue.length === 0) return
      for (const lane of this.#lanes) await lane.step()
      // Requests, cancellations and events of the sockets come in between.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Gives waiting requests slots, as far as there are any. */
  async #admit(): Promise<void> {
    if (this.#queue.length === 0) return
    this.#layout ??= await Layout.of(this.#model)
    for (;;) {
      let lane: Lane | undefined
      const request = this.#queue.take((waiting) => {
        lane = this.#place(waiting)
        return lane !== undefined
      })
      if (!request) return
      lane!.admit(request)
    }
  }

  /** The lane that takes the request now, with room for it. */
  #place(request: Request): Lane | undefined {
    if (request.cancelled) return undefined
    const lane = this.#lanes.find(({ edit }) => sameEdits(edit, request.edit))
    if (lane && (!lane.open || this.#isBlocked(lane, request))) return undefined
    if (lane && request.room <= lane.slots.capacity) return lane
    const capacity = this.#capacityFor(request)
    if (capacity === undefined) return undefined
    const running = lane?.running ?? 0
    // Caches of other edits that nobody uses make place, the one unused for longest first.
    let others = this.#lanes.filter((other) => other !== lane)
    const count = (): number => {
      const taken = others.reduce((sum, { slots }) => sum + slots.bytes, 0)
      return Math.min(this.#most, Math.floor((this.#memory - taken) / this.#layout!.bytes(1, capacity)))
    }
    const tooMany = (): boolean => others.length >= mostLanes || count() <= running
    while (tooMany()) {
      const idle = others.find((other) => other.running === 0)
      if (!idle) break
      others = others.filter((other) => other !== idle)
    }
    if (tooMany()) {
      // When rows have ended. Until then nobody else joins them, or it would never be.
      if (lane) this.#blocked.set(lane, request)
      return undefined
    }
    const slots = lane ? lane.slots : new Slots(this.#layout!)
    slots.resize(count(), capacity)
    const placed =
      lane ?? new Lane(this.#model, request.edit, slots, { chunk: this.#chunk, counts: this.#counts })
    this.#blocked.delete(placed)
    this.#lanes = [...others, placed]
    return placed
  }

  /** Whether another request waits for a lane's rows to end. */
  #isBlocked(lane: Lane, request: Request): boolean {
    const first = this.#blocked.get(lane)
    if (first?.cancelled) this.#blocked.delete(lane)
    return first !== undefined && first !== request && !first.cancelled
  }

  /** Room that a slot should have, or undefined after the request has failed because it can have none. */
  #capacityFor(request: Request): number | undefined {
    const bytes = (capacity: number): number => this.#layout!.bytes(1, capacity)
    const round = Math.min(
      this.#model.context,
      Math.max(firstCapacity, 2 ** Math.ceil(Math.log2(request.room))),
    )
    if (bytes(round) <= this.#memory) return round
    if (bytes(request.room) <= this.#memory) return request.room
    request.fail(
      new RangeError(
        `${request.room} tokens need ${bytes(request.room)} bytes of cache, and ${this.#memory} are allowed: ask for fewer, or raise the memory`,
      ),
    )
    return undefined
  }
}
