/** The compiled programs of a decoder: their arguments, and how they are made. */
import { type Axes, crossEntropy, type Jitted, type Tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import { type AdapterTree, applyAdapters } from './adapters.ts'
import { type Cache, cacheAxes } from './cache.ts'
import { forward } from './decoder.ts'
import { type EditArguments, withArguments } from './edits.ts'
import type { RotaryTables } from './parts/position.ts'
import type { DecoderParams, DecoderSpec } from './spec.ts'
import { type TapOptions, Taps } from './taps.ts'

/** What programs are made of. */
export interface Compiling {
  readonly engine: Engine
  readonly spec: DecoderSpec
  readonly rotary: RotaryTables | undefined
  /** Weights are constants, those of `adaptedParams`. */
  readonly sealed: boolean
  readonly prepack: boolean
  adaptedParams(): DecoderParams
}

/** What a program that is not sealed runs with. */
export interface Weights {
  readonly params: DecoderParams
  readonly adapters: readonly AdapterTree[]
}

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

type Program<A extends readonly unknown[], R> = ((...args: A) => Promise<R>) &
  Pick<Jitted<A, R>, 'abortable' | 'prepare'>
/** One that belongs to who has compiled it. */
export type OwnProgram<A extends readonly unknown[], R> = Program<A, R> &
  Pick<Jitted<A, R>, 'compilations' | 'dispose' | typeof Symbol.dispose>
/** A program of a model and of those that share its weights under other adapters or edits. */
export interface Shared<A extends readonly unknown[], R> {
  readonly compilations: number
  dispose(): void
  /** With the weights, the adapters and the edits' arguments that it runs with. */
  bound(model: Weights, edits: EditArguments): Program<A, R>
}
export type SharedPrograms = {
  readonly [K in keyof DecoderPrograms]: Shared<
    Parameters<DecoderPrograms[K]>,
    Awaited<ReturnType<DecoderPrograms[K]>>
  >
}
export type DecoderPrograms = {
  readonly forward: Program<[tokens: Tensor], Record<string, Tensor>>
  readonly step: Program<[StepInput], StepOutput>
  /** `step` for several new tokens in several rows that have a past. */
  readonly chunkStep: Program<[StepInput], StepOutput>
  readonly score: Program<[tokens: Tensor], Tensor>
}

const stepAxes = (spec: DecoderSpec): Axes => ({
  tokens: ['batch', 'time'],
  cache: cacheAxes(spec),
  lengths: ['batch'],
  at: ['batch'],
})

/** The programs of a decoder for these reads and edits. */
export function decoderPrograms(model: Compiling, options: TapOptions): SharedPrograms {
  const { spec, rotary } = model
  return {
    forward: compile(model, 'forward', options, [['batch', 'time']], {}, (params, taps, tokens: Tensor) => {
      forward(spec, params, { tokens }, rotary, taps)
      return taps.finish()
    }),
    step: compileStep(model, 'step', options, false),
    chunkStep: compileStep(model, 'chunkStep', options, true),
    score: compile(
      model,
      'score',
      { edit: options.edit ?? {} },
      [['batch', 'time']],
      {},
      (params, taps, tokens: Tensor) => {
        // The last token is only ever a target.
        const { logits } = forward(spec, params, { tokens: tokens.slice(1, 0, -1) }, rotary, taps)
        return crossEntropy(logits, tokens.slice(1, 1)).neg()
      },
    ),
  }
}

function compileStep(
  model: Compiling,
  name: string,
  options: TapOptions,
  composed: boolean,
): Shared<[StepInput], StepOutput> {
  const { spec, rotary } = model
  return compile(
    model,
    name,
    options,
    [stepAxes(spec)],
    { cache: '0.cache' },
    (params, taps, input: StepInput): StepOutput => {
      const { tokens, cache, lengths, at } = input
      const past = { cache, lengths, composed }
      const result = forward(spec, params, { tokens, past, at }, rotary, taps)
      return { logits: result.logits, cache: result.cache!, reads: taps.finish() }
    },
  )
}

/**
 * Compiles `f`. Weights and adapters are its first arguments, or constants where the model is sealed; the arguments of
 * edits follow.
 */
export function compile<A extends readonly unknown[], R>(
  model: Compiling,
  name: string,
  options: TapOptions,
  axes: readonly Axes[],
  inPlace: Readonly<Record<string, string>>,
  f: (params: DecoderParams, taps: Taps, ...args: A) => R,
): Shared<A, R> {
  const { engine, spec, sealed, prepack, adaptedParams } = model
  const tapsOf = (edits: EditArguments): Taps =>
    new Taps(spec, { ...options, edit: withArguments(options.edit, edits) })
  const baked = (edits: EditArguments, ...args: A): R => f(adaptedParams(), tapsOf(edits), ...args)
  const open = (
    params: DecoderParams,
    adapters: readonly AdapterTree[],
    edits: EditArguments,
    ...args: A
  ): R => f(applyAdapters(params, adapters), tapsOf(edits), ...args)
  const leading = (weights: Weights, edits: EditArguments): unknown[] =>
    sealed ? [edits] : [weights.params, weights.adapters, edits]
  const count = sealed ? 1 : 3
  const shifted = Object.fromEntries(
    Object.entries(inPlace).map(([branch, path]) => [
      branch,
      path.replace(/^\d+/, (i) => `${Number(i) + count}`),
    ]),
  )
  const whole = (sealed ? baked : open) as (...args: unknown[]) => R
  const jitted = engine.jit(whole, {
    name,
    prepack,
    axes: [...new Array<undefined>(count).fill(undefined), ...axes],
    inPlace: shifted,
  })
  return {
    get compilations() {
      return jitted.compilations
    },
    dispose: () => jitted.dispose(),
    bound(weights, edits) {
      const own = leading(weights, edits)
      return Object.assign((...args: A): Promise<R> => jitted(...own, ...args), {
        abortable: (signal: AbortSignal | undefined, ...args: A) => jitted.abortable(signal, ...own, ...args),
        prepare: (...args: A) => jitted.prepare(...own, ...args),
      })
    },
  }
}
