/** What goes into an exported model and comes out of it, by the names that other programs know. */
import { type Axes, addDims, iota, size, type Tensor, tensor } from '../../array/index.ts'
import { type ForwardInput, type ForwardOutput, forward } from '../decoder.ts'
import type { Model } from '../model.ts'
import type { LayerCache } from '../parts/attention.ts'
import { rotaryTables } from '../parts/position.ts'
import { Taps } from '../taps.ts'

/**
 * `none`: a whole sequence at once. `room`: one pass with a cache that has room for the tokens to come.
 * `growing`: one with a cache that gets longer with every pass, as transformers.js wants it.
 */
export type CacheForm = 'none' | 'room' | 'growing'

export type Named = Readonly<Record<string, Tensor>>

export interface Signature {
  /** Examples of the inputs: types, and the sizes of axes that have no name. */
  readonly inputs: Named
  readonly axes: Readonly<Record<string, Axes>>
  run(inputs: Named): Named
}

/** Ids and counts are int64 outside, as every runner feeds them, and i32 inside. */
const long = (shape: readonly number[]): Tensor =>
  tensor(new BigInt64Array(shape.reduce((a, b) => a * b, 1)), shape)

/** The part of a form that is its own: inputs beside the ids, and how they enter the model. */
interface Form {
  readonly batch: string
  readonly time: string
  readonly inputs: Named
  readonly axes: Readonly<Record<string, Axes>>
  enter(inputs: Named): Omit<ForwardInput, 'tokens'>
  leave?(output: ForwardOutput): Named
}

const whole: Form = { batch: 'batch', time: 'sequence', inputs: {}, axes: {}, enter: () => ({}) }

/** Keys and values of every layer as named arrays, and back. */
function cacheForm(model: Model, prefix: string, axes: Axes) {
  const layers = model.newCache(1, 1)
  const name = (of: string, layer: number, part: string): string => `${of}.${layer}.${part}`
  const named = (of: string, cache: readonly LayerCache[]): Named =>
    Object.fromEntries(
      cache.flatMap(({ keys, values }, i) => [
        [name(of, i, 'key'), keys],
        [name(of, i, 'value'), values],
      ]),
    )
  const inputs = named(prefix, layers)
  return {
    inputs,
    axes: Object.fromEntries(Object.keys(inputs).map((key) => [key, axes])),
    read: (given: Named): LayerCache[] =>
      layers.map((_, i) => ({
        keys: given[name(prefix, i, 'key')]!,
        values: given[name(prefix, i, 'value')]!,
      })),
    leave: ({ cache }: ForwardOutput): Named => named('present', cache!),
  }
}

/**
 * input_ids [batch, sequence], padded at the end; lengths [batch], tokens that each row has in the cache; at [batch],
 * the position in input_ids whose logits are wanted, [batch, 1, vocab]; past.N.key and past.N.value [batch, heads,
 * capacity, size], of which present.N.key and present.N.value are the continuation.
 */
function room(model: Model): Form {
  const { inputs, axes, read, leave } = cacheForm(model, 'past', ['batch', null, 'capacity', null])
  return {
    batch: 'batch',
    time: 'sequence',
    inputs: { lengths: long([1]), at: long([1]), ...inputs },
    axes: { lengths: ['batch'], at: ['batch'], ...axes },
    // Composed: the fused operator has wrong results for several new tokens in several rows that have a past.
    enter: (given) => ({
      past: { cache: read(given), lengths: given.lengths!.cast('i32'), composed: true },
      at: given.at!.cast('i32'),
    }),
    leave,
  }
}

/**
 * input_ids and position_ids [batch, sequence]; attention_mask [batch, past + sequence], 0 for padding, which may be
 * anywhere; past_key_values.N.key and .value [batch, heads, past, size], empty at first. Gives logits of all positions
 * and present.N.key and .value [batch, heads, past + sequence, size].
 */
function growing(model: Model): Form {
  const [batch, time, past, total] = [
    'batch_size',
    'sequence_length',
    'past_sequence_length',
    'total_sequence_length',
  ]
  const { inputs, axes, read, leave } = cacheForm(model, 'past_key_values', [batch!, null, past!, null])
  return {
    batch: batch!,
    time: time!,
    inputs: { attention_mask: long([1, 1]), position_ids: long([1, 1]), ...inputs },
    axes: { attention_mask: [batch!, total!], position_ids: [batch!, time!], ...axes },
    enter(given) {
      const cache = read(given)
      return {
        growing: {
          cache,
          positions: given.position_ids!.cast('i32'),
          attended: exactly(given.attention_mask!.cast('i32'), cache[0]!.keys, given.input_ids!),
        },
      }
    },
    leave,
  }
}

/**
 * An attention mask [batch, total] as [batch, past + T]. Where its length is another one the indices leave it: the
 * run fails instead of reading some of it.
 */
function exactly(mask: Tensor, keys: Tensor, ids: Tensor): Tensor {
  const length = addDims(keys.shape[2]!, ids.shape[1]!)
  const excess = size(mask.shape[1]!, 'i32').sub(size(length, 'i32'))
  return mask.gather(iota(length).add(excess.mul(2 ** 24)), 1)
}

const forms: Readonly<Record<CacheForm, (model: Model) => Form>> = { none: () => whole, room, growing }

/** The function to export: input_ids, what the form adds, and the sites read as outputs after the logits. */
export function signature(model: Model, form: CacheForm, read: readonly string[]): Signature {
  const { spec, params } = model
  const { batch, time, inputs, axes, enter, leave } = forms[form](model)
  const rotary = rotaryTables(spec, model.context)
  const sites = [...new Set([...(model.taps.read ?? []), ...read])]
  const taps = new Taps(spec, { read: sites, edit: model.taps.edit ?? {} })
  return {
    inputs: { input_ids: long([1, 1]), ...inputs },
    axes: { input_ids: [batch, time], ...axes },
    run(given) {
      const tokens = given.input_ids!.cast('i32')
      const output = forward(spec, params, { tokens, ...enter(given) }, rotary, taps)
      const values = taps.finish()
      return {
        logits: output.logits,
        // In the order in which they were asked for.
        ...Object.fromEntries(sites.map((site) => [site, values[site]!])),
        ...leave?.(output),
      }
    },
  }
}
