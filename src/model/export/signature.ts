/** What goes into an exported model and comes out of it, by the names that other programs know. */
import { type Axes, addDims, iota, leaves, size, type Tensor, tensor, unflatten } from '../../array/index.ts'
import { type AttentionCache, type Cache, cacheAxes } from '../cache.ts'
import { type ForwardInput, type ForwardOutput, forward } from '../decoder.ts'
import type { Model } from '../model.ts'
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

/** The cache of every layer as named arrays, past.0.key, past.0.value ..., and back. `length` names its growing axis. */
function cacheForm(model: Model, prefix: string, batch: string, length: string) {
  if (model.prefixLength > 0)
    throw new Error(
      'a model with a prefix cannot be exported with a cache, which would have to hold the prefix',
    )
  const layers = model.newCache(1, 1)
  const named = (of: string, cache: Cache): Named =>
    Object.fromEntries(leaves(cache).map(([path, leaf]) => [`${of}.${path.replace(/s$/, '')}`, leaf]))
  const inputs = named(prefix, layers)
  const axesOf = cacheAxes(model.spec) as readonly (readonly (string | null)[])[]
  const renamed = (names: readonly (string | null)[]): Axes =>
    names.map((name) => (name === 'capacity' ? length : name === 'batch' ? batch : name))
  return {
    inputs,
    axes: Object.fromEntries(
      Object.keys(inputs).map((key) => [key, renamed(axesOf[Number(key.split('.').at(-2))]!)]),
    ),
    read: (given: Named): Cache =>
      unflatten(
        layers,
        Object.keys(inputs).map((name) => given[name]!),
      ),
    leave: ({ cache }: ForwardOutput): Named => named('present', cache!),
  }
}

/**
 * input_ids [batch, sequence], padded at the end; lengths [batch], tokens that each row has in the cache; at [batch],
 * the position in input_ids whose logits are wanted, [batch, 1, vocab]; past.N.key and past.N.value [batch, heads,
 * capacity, size], of which present.N.key and present.N.value are the continuation (past.N.conv [batch, kernel - 1,
 * inner] and past.N.state [batch, inner, state] where a layer has a state, and no lengths where there are no positions).
 */
function room(model: Model): Form {
  const { inputs, axes, read, leave } = cacheForm(model, 'past', 'batch', 'capacity')
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
  if (model.spec.mixers || !model.spec.attention)
    throw new Error('a cache that grows holds keys and values alone: this model has states')
  const [batch, time, past, total] = [
    'batch_size',
    'sequence_length',
    'past_sequence_length',
    'total_sequence_length',
  ]
  const { inputs, axes, read, leave } = cacheForm(model, 'past_key_values', batch!, past!)
  return {
    batch: batch!,
    time: time!,
    inputs: { attention_mask: long([1, 1]), position_ids: long([1, 1]), ...inputs },
    axes: { attention_mask: [batch!, total!], position_ids: [batch!, time!], ...axes },
    enter(given) {
      const cache = read(given) as readonly AttentionCache[]
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
  const { spec, adaptedParams: params } = model
  const { batch, time, inputs, axes, enter, leave } = forms[form](model)
  const rotary = rotaryTables(spec, model.positions)
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
