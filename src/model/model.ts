/** A model on an engine: the programs that run it, compiled when first needed and shared. */
import { type Axes, type Tensor, tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { type AdapterTree, applyAdapters, checkStack, treesOf } from './adapters.ts'
import type { ModuleNames } from './bind.ts'
import { type Cache, capacityOf, emptyCache } from './cache.ts'
import { forward } from './decoder.ts'
import {
  type Compiling,
  compile,
  type DecoderPrograms,
  decoderPrograms,
  type OwnProgram,
  type SharedPrograms,
  type StepInput,
  type StepOutput,
} from './decoderPrograms.ts'
import { argumentsOf, type Edits, editKey, joinEdits } from './edits.ts'
import { load } from './load.ts'
import { checkNotMerged, mergeAdapters } from './merge.ts'
import { type RotaryTables, rotaryTables } from './parts/position.ts'
import type { Pass } from './pass.ts'
import { prefixedCache } from './prefix.ts'
import { Programs, type TokenRows, tokenRows } from './programs.ts'
import type { DecoderParams, DecoderSpec } from './spec.ts'
import type { TapOptions } from './taps.ts'

export type { OwnProgram, StepInput, StepOutput } from './decoderPrograms.ts'

export interface ModelParts {
  readonly engine: Engine
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  /** Names of Hugging Face's modules, by which adapters are addressed. */
  readonly moduleNames?: ModuleNames | undefined
  /** What is applied to the parameters, the first one nearest to them. */
  readonly adapters?: readonly AdapterTree[]
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
  /** Reads and edits of every program. A sealed model has no other edits. */
  readonly taps?: TapOptions
  /** Whether a sealed model re-lays its weights at load. */
  readonly prepack?: boolean
}

const defaultContext = 32768

export class Model {
  readonly engine: Engine
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  readonly moduleNames: ModuleNames | undefined
  readonly adapters: readonly AdapterTree[]
  readonly tokenizer: Tokenizer | undefined
  /** Tokens that end a text. */
  readonly ends: readonly number[]
  readonly path: string
  readonly sealed: boolean
  /** Most positions of a sequence, without those that a prefix or a soft prompt takes. */
  readonly context: number
  /** All positions. */
  readonly positions: number
  readonly taps: TapOptions
  readonly #prepack: boolean
  readonly #rotary: RotaryTables | undefined
  readonly #programs: Programs<SharedPrograms>
  readonly #parts: ModelParts

  /** `weights`: a model that has the same ones, whose programs are shared. */
  constructor(parts: ModelParts, weights?: Model) {
    this.#parts = parts
    this.#programs = weights
      ? weights.#programs
      : new Programs(parts.spec, (taps) => decoderPrograms(this.#compiling, taps))
    this.engine = parts.engine
    this.spec = parts.spec
    this.params = parts.params
    this.moduleNames = parts.moduleNames
    this.adapters = treesOf(parts.adapters ?? [])
    checkStack(this.adapters)
    this.tokenizer = parts.tokenizer
    const own = parts.tokenizer?.eos
    this.ends = [...new Set([...(own === undefined ? [] : [own]), ...(parts.ends ?? [])])]
    this.path = parts.path ?? 'model'
    this.sealed = parts.sealed ?? false
    this.taps = parts.taps ?? {}
    this.#prepack = parts.prepack ?? true
    const { kind } = parts.spec.position
    this.positions =
      parts.context ??
      Math.min(parts.spec.context, kind === 'none' ? Number.POSITIVE_INFINITY : defaultContext)
    const { positions } = this
    const prompt = this.adapters.find(({ params }) => params.prompt)?.params.prompt
    this.context = positions - this.prefixLength - (prompt?.sizes[0] ?? 0)
    this.#rotary = weights ? weights.#rotary : rotaryTables(parts.spec, positions)
    if (kind === 'learned' && positions > parts.spec.context)
      throw new RangeError(`context ${positions}: the model has ${parts.spec.context} learned positions`)
    if (this.context < 1)
      throw new RangeError(`the prefix or soft prompt leaves no room in ${positions} positions`)
  }

  /** Opens a checkpoint; see `load`. Its weights are arguments of every program: they can be edited and trained. */
  static open(path: string, engine: Engine): Model {
    return new Model({ engine, ...load(path) })
  }

  /**
   * The same weights under other adapters, or none; see `attach` for soft prompts. Programs are shared, and adapters of
   * one shape run in one program: exchanging them compiles nothing. Caches of one model are not for the other.
   */
  adapted(adapters: readonly AdapterTree[]): Model {
    if (this.sealed) throw new Error('a sealed model keeps the adapters that it was sealed with')
    checkNotMerged(this.params, adapters)
    return new Model({ ...this.#parts, adapters }, this)
  }

  /**
   * The same weights under these edits in every pass, in the place of those that it had; edits of one pass act after
   * them. Programs are shared: edits of the same functions run in one program, whatever their arguments. A sealed model
   * keeps its functions and takes other arguments. Caches of one model are not for the other.
   */
  edited(edit: Edits): Model {
    if (this.sealed && editKey(edit) !== editKey(this.taps.edit))
      throw new Error(
        'a sealed model keeps the edits that it was sealed with; only their arguments can be exchanged',
      )
    return new Model({ ...this.#parts, taps: { ...this.taps, edit } }, this)
  }

  /**
   * A model whose weights do what these weights and the adapters do, at no further cost; a prefix stays beside them.
   * Throws if there is nothing to merge, as after a first time.
   */
  async merged(): Promise<Model> {
    if (this.sealed) throw new Error('the weights of a sealed model are fixed: merge before sealing')
    if (!this.adapters.some(({ params }) => params.linears || params.saved))
      throw new Error('there is no adapter to merge into the weights')
    const params = await mergeAdapters(this.engine, this.spec, this.params, this.adapters)
    const adapters = this.adapters.flatMap(({ params: { prefix, prompt }, strength }) =>
      prefix || prompt ? [{ params: { prefix, prompt }, strength }] : [],
    )
    return new Model({ ...this.#parts, params, adapters })
  }

  /** Positions that the adapters put before the first token. */
  get prefixLength(): number {
    return this.#prefix?.sizes[0] ?? 0
  }

  get #prefix(): Tensor | undefined {
    return this.adapters.find(({ params }) => params.prefix)?.params.prefix
  }

  /** Parameters and adapters in one tree, as the forward pass takes them. */
  get adaptedParams(): DecoderParams {
    return applyAdapters(this.params, this.adapters)
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

  /**
   * One pass over new tokens with a cache: a whole prompt or a single token. On the processor in Node the signal ends
   * it between two operators; the keys and values of the tokens that were in the cache are then as they were.
   */
  async step(input: StepInput, taps: TapOptions = {}, signal?: AbortSignal): Promise<StepOutput> {
    const { step, chunkStep } = this.programs(taps)
    const [batch, time] = input.tokens.sizes as [number, number]
    this.#checkRoom(input)
    const past = (length: number): boolean => length + this.prefixLength > 0
    const goesOn = batch > 1 && time > 1 && (input.lengths.data as Int32Array).some(past)
    return (goesOn ? chunkStep : step).abortable(signal, input)
  }

  /** Throws where the new tokens would not fit: the operator's own message names neither. */
  #checkRoom({ cache, lengths, tokens }: StepInput): void {
    const [held, time] = [capacityOf(cache), tokens.sizes[1]!]
    if (held === undefined) return
    const capacity = held - this.prefixLength
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
    const prefix = this.#prefix
    const empty = emptyCache(this.spec, batch, this.prefixLength + capacity)
    return prefix
      ? empty.map((layer, i) => ('keys' in layer ? prefixedCache(prefix, i, layer.keys.sizes) : layer))
      : empty
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

  /**
   * A program of the caller's own over this model: `f` is traced with a forward pass that it can call with reads and
   * edits, whose tensors may be arguments of `f`. `axes` name those of its arguments. The model does not keep it: hold
   * on to it, and dispose of it.
   */
  compile<A extends readonly unknown[], R>(
    name: string,
    axes: readonly Axes[],
    f: (pass: Pass, ...args: A) => R,
  ): OwnProgram<A, R> {
    const { edit = {} } = this.taps
    const shared = compile(this.#compiling, name, { edit }, axes, {}, (params, taps, ...args: A) => {
      const pass: Pass = {
        params,
        forward: (input, more) => {
          const own = taps.with(more)
          const { logits } = forward(this.spec, params, input, this.#rotary, own)
          return { logits, reads: own.finish() }
        },
      }
      return f(pass, ...args)
    })
    return Object.defineProperties(shared.bound(this, argumentsOf(edit)) as OwnProgram<A, R>, {
      compilations: { get: () => shared.compilations },
      dispose: { value: () => shared.dispose() },
      [Symbol.dispose]: { value: () => shared.dispose() },
    })
  }

  /** The compiled programs for these reads and edits. */
  programs(taps: TapOptions): DecoderPrograms {
    const merged = this.#merge(taps)
    const { forward, step, chunkStep, score } = this.#programs.of(merged)
    const args = argumentsOf(merged.edit)
    return {
      forward: forward.bound(this, args),
      step: step.bound(this, args),
      chunkStep: chunkStep.bound(this, args),
      score: score.bound(this, args),
    }
  }

  /** What its programs are made of, for those of its own weights. */
  get #compiling(): Compiling {
    const { engine, spec, sealed } = this
    const adaptedParams = () => this.adaptedParams
    return { engine, spec, sealed, rotary: this.#rotary, prepack: this.#prepack, adaptedParams }
  }

  #merge({ read = [], edit = {} }: TapOptions): TapOptions {
    if (this.sealed && Object.keys(edit).length > 0)
      throw new Error(
        'a sealed model takes its edits when it is sealed, and other arguments for them with `edited`',
      )
    return {
      read: [...new Set([...(this.taps.read ?? []), ...read])],
      edit: joinEdits(this.taps.edit, edit),
    }
  }

  /** How many programs are compiled and kept, those under other adapters included. */
  get compilations(): number {
    return this.#programs.compilations
  }

  /** Releases the programs, which models under other adapters share. */
  dispose(): void {
    this.#programs.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
