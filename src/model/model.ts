/** A model on an engine: the programs that run it, compiled when first needed and shared. */
import { type Axes, crossEntropy, type Jitted, type Tensor, tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { type Cache, cacheAxes, capacityOf, emptyCache } from './cache.ts'
import { forward } from './decoder.ts'
import { load } from './load.ts'
import { type RotaryTables, rotaryTables } from './parts/position.ts'
import { Programs, type TokenRows, tokenRows } from './programs.ts'
import type { DecoderParams, DecoderSpec } from './spec.ts'
import { type TapOptions, Taps } from './taps.ts'

export interface StepInput {
  /** i32 [batch, T]; rows may be padded at the end. */
  readonly tokens: Tensor
  readonly cache: Cache
  /** i32 [batch]: tokens that each row has in the cache. */
  readonly lengths: Tensor
  /** i32 [batch]: the position in `tokens` whose logits are wanted: each row's last, before its padding. */
  readonly at: Tensor
}

export interface StepOutput {
  /** [batch, 1, vocab] */
  readonly logits: Tensor
  /** The cache given, with the new tokens in it; the one given must not be used again. */
  readonly cache: Cache
  readonly reads: Readonly<Record<string, Tensor>>
}

type Program<A extends readonly unknown[], R> = Jitted<A, R>
type DecoderPrograms = {
  readonly forward: Program<[tokens: Tensor], Record<string, Tensor>>
  readonly step: Program<[StepInput], StepOutput>
  /** `step` for several new tokens in several rows that have a past. */
  readonly chunkStep: Program<[StepInput], StepOutput>
  readonly score: Program<[tokens: Tensor], Tensor>
}

export interface ModelParts {
  readonly engine: Engine
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  readonly tokenizer?: Tokenizer | undefined
  /** Tokens that end a text, beside the tokenizer's own. */
  readonly ends?: readonly number[]
  /** Where it came from, for messages. */
  readonly path?: string
  /** Weights are constants of the programs instead of arguments. */
  readonly sealed?: boolean
  /**
   * Most positions; by default what the model was made for, up to 32768 where there are tables of positions, which
   * grow with it.
   */
  readonly context?: number
  /** Reads and edits of every program. A sealed model has no others. */
  readonly taps?: TapOptions
  /** Whether a sealed model re-lays its weights at load. */
  readonly prepack?: boolean
}

const defaultContext = 32768
const stepAxes = (spec: DecoderSpec): Axes => ({
  tokens: ['batch', 'time'],
  cache: cacheAxes(spec),
  lengths: ['batch'],
  at: ['batch'],
})

export class Model {
  readonly engine: Engine
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  readonly tokenizer: Tokenizer | undefined
  /** Tokens that end a text. */
  readonly ends: readonly number[]
  readonly path: string
  readonly sealed: boolean
  /** Most positions of a sequence. */
  readonly context: number
  readonly taps: TapOptions
  readonly #prepack: boolean
  readonly #rotary: RotaryTables | undefined
  readonly #programs: Programs<DecoderPrograms>

  constructor(parts: ModelParts) {
    this.engine = parts.engine
    this.spec = parts.spec
    this.params = parts.params
    this.tokenizer = parts.tokenizer
    const own = parts.tokenizer?.eos
    this.ends = [...new Set([...(own === undefined ? [] : [own]), ...(parts.ends ?? [])])]
    this.path = parts.path ?? 'model'
    this.sealed = parts.sealed ?? false
    this.taps = parts.taps ?? {}
    this.#prepack = parts.prepack ?? true
    const { kind } = parts.spec.position
    this.context =
      parts.context ??
      Math.min(parts.spec.context, kind === 'none' ? Number.POSITIVE_INFINITY : defaultContext)
    this.#rotary = rotaryTables(parts.spec, this.context)
    this.#programs = new Programs(parts.spec, (taps) => this.#make(taps))
    if (kind === 'learned' && this.context > parts.spec.context)
      throw new RangeError(`context ${this.context}: the model has ${parts.spec.context} learned positions`)
  }

  /** Opens a checkpoint; see `load`. Its weights are arguments of every program: they can be edited and trained. */
  static open(path: string, engine: Engine): Model {
    return new Model({ engine, ...load(path) })
  }

  /**
   * Runs whole sequences without a cache. `tokens` are rows of equal length. Gives the sites in `read`;
   * `edit` replaces activations on the way.
   */
  async run(tokens: TokenRows, taps: TapOptions = { read: ['logits'] }): Promise<Record<string, Tensor>> {
    return this.programs(taps).forward(this.rows(tokens))
  }

  /** Log-probabilities in nats of every token after the first of each row, [batch, T - 1]. */
  async score(tokens: TokenRows, taps: TapOptions = {}): Promise<Tensor> {
    return this.programs(taps).score(this.rows(tokens))
  }

  /** One pass over new tokens with a cache: a whole prompt or a single token. */
  async step(input: StepInput, taps: TapOptions = {}): Promise<StepOutput> {
    const { step, chunkStep } = this.programs(taps)
    const [batch, time] = input.tokens.sizes as [number, number]
    this.#checkRoom(input)
    const goesOn = batch > 1 && time > 1 && (input.lengths.data as Int32Array).some((length) => length > 0)
    return (goesOn ? chunkStep : step)(input)
  }

  /** Throws where the new tokens would not fit: the operator's own message names neither. */
  #checkRoom({ cache, lengths, tokens }: StepInput): void {
    const [capacity, time] = [capacityOf(cache), tokens.sizes[1]!]
    if (capacity === undefined) return
    const longest = (lengths.data as Int32Array).reduce((a, b) => Math.max(a, b), 0)
    if (longest + time > capacity)
      throw new RangeError(
        `the cache has room for ${capacity} tokens: ${longest} are in it, and ${time} more do not fit`,
      )
  }

  /** Compiles the program that generates, which otherwise happens at the first step. */
  async prepare(taps: TapOptions = {}): Promise<void> {
    const [tokens, zero] = [tensor(Int32Array.of(0), [1, 1]), tensor(Int32Array.of(0))]
    await this.programs(taps).step.prepare({ tokens, cache: this.newCache(1, 1), lengths: zero, at: zero })
  }

  /** An empty cache for rows of at most `capacity` tokens. */
  newCache(batch: number, capacity: number): Cache {
    this.#checkLength(capacity)
    return emptyCache(this.spec, batch, capacity)
  }

  /** Token rows as an i32 array; throws for rows of different lengths and ids outside the vocabulary. */
  rows(tokens: TokenRows): Tensor {
    const checkLength = (length: number): void => this.#checkLength(length)
    return tokenRows(tokens, { vocab: this.spec.vocab, remedy: 'pad or split them', checkLength })
  }

  #checkLength(length: number): void {
    if (length > this.context)
      throw new RangeError(
        `${length} positions, but the context is ${this.context} (the model was made for ${this.spec.context})`,
      )
  }

  /** The compiled programs for these reads and edits. */
  programs(taps: TapOptions): DecoderPrograms {
    return this.#programs.of(this.#merge(taps))
  }

  #merge(taps: TapOptions): TapOptions {
    const edits = { ...this.taps.edit, ...taps.edit }
    if (this.sealed && Object.keys(taps.edit ?? {}).length > 0)
      throw new Error('a sealed model takes its edits when it is sealed')
    return { read: [...new Set([...(this.taps.read ?? []), ...(taps.read ?? [])])], edit: edits }
  }

  #make(options: TapOptions): DecoderPrograms {
    const { spec } = this
    return {
      forward: this.#compile('forward', [['batch', 'time']], {}, (params, tokens: Tensor) => {
        const taps = new Taps(spec, options)
        forward(spec, params, { tokens }, this.#rotary, taps)
        return taps.finish()
      }),
      step: this.#compileStep('step', options, false),
      chunkStep: this.#compileStep('chunkStep', options, true),
      score: this.#compile('score', [['batch', 'time']], {}, (params, tokens: Tensor) => {
        const taps = new Taps(spec, { edit: options.edit ?? {} })
        // The last token is only ever a target.
        const { logits } = forward(spec, params, { tokens: tokens.slice(1, 0, -1) }, this.#rotary, taps)
        return crossEntropy(logits, tokens.slice(1, 1)).neg()
      }),
    }
  }

  #compileStep(name: string, options: TapOptions, composed: boolean): Program<[StepInput], StepOutput> {
    return this.#compile(
      name,
      [stepAxes(this.spec)],
      { cache: '0.cache' },
      (params, input: StepInput): StepOutput => {
        const taps = new Taps(this.spec, options)
        const { tokens, cache, lengths, at } = input
        const past = { cache, lengths, composed }
        const result = forward(this.spec, params, { tokens, past, at }, this.#rotary, taps)
        return { logits: result.logits, cache: result.cache!, reads: taps.finish() }
      },
    )
  }

  /** Compiles `f` with the parameters as its first argument, or as constants where the model is sealed. */
  #compile<A extends readonly unknown[], R>(
    name: string,
    axes: readonly Axes[],
    inPlace: Readonly<Record<string, string>>,
    f: (params: DecoderParams, ...args: A) => R,
  ): Program<A, R> {
    const options = { name, prepack: this.#prepack }
    if (this.sealed)
      return this.engine.jit((...args: A) => f(this.params, ...args), { ...options, axes, inPlace })
    // The parameters come first, so the other arguments move up by one.
    const shifted = Object.fromEntries(
      Object.entries(inPlace).map(([branch, path]) => [
        branch,
        path.replace(/^\d+/, (i) => `${Number(i) + 1}`),
      ]),
    )
    const jitted = this.engine.jit(f, { ...options, axes: [undefined, ...axes], inPlace: shifted })
    const program = (...args: A): Promise<R> => jitted(this.params, ...args)
    return Object.defineProperties(program as Program<A, R>, {
      prepare: { value: (...args: A) => jitted.prepare(this.params, ...args) },
      compilations: { get: () => jitted.compilations },
      dispose: { value: () => jitted.dispose() },
      [Symbol.dispose]: { value: () => jitted.dispose() },
    })
  }

  /** How many programs are compiled and kept. */
  get compilations(): number {
    return this.#programs.compilations
  }

  dispose(): void {
    this.#programs.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
