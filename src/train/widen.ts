/**
 * Width by cloning: a trained model with every residual channel, hidden unit and head several times over, as the
 * beginning of a wider one that computes the same function (HyperCloning: Samragh et al. 2024, "Scaling Smart:
 * Accelerating Large Language Model Pre-training with Small Model Initialization", section 3).
 *
 * With n copies of an input x, [W/n + E_1, ..., W/n + E_n] gives W x again as long as the E sum to zero. They are what
 * makes the copies learn different things; the paper draws them too. Decoders of the Llama and GPT-2 kinds.
 */
import { random, type Tensor, tensor } from '../array/index.ts'
import type { DecoderParams, DecoderSpec, Linear, Matrix, Norm } from '../model/spec.ts'

export interface WidenOptions {
  /** Standard deviation of E, as a share of that of W / n. */
  readonly noise?: number
  readonly seed?: number
}

/** Which old channel each new one is a copy of. */
type Copies = readonly number[]

/** Copy after copy of all channels: 0 1 2 0 1 2. */
const tiled = (width: number, times: number): Copies =>
  Array.from({ length: width * times }, (_, i) => i % width)

/** All copies of a head beside each other: 0 0 1 1, so that groups of queries stay with their keys. */
const repeated = (heads: number, times: number, headSize: number): Copies =>
  Array.from({ length: heads * times * headSize }, (_, i) => {
    const head = Math.floor(i / headSize / times)
    return head * headSize + (i % headSize)
  })

/**
 * Parameters for `to`, whose width, heads and hidden units are the same multiple of those of `from`. Fewer copies of
 * the keys and values are possible. Throws for parts that cannot be cloned.
 */
export function widen(
  params: DecoderParams,
  from: DecoderSpec,
  to: DecoderSpec,
  { noise = 0.5, seed = 0 }: WidenOptions = {},
): DecoderParams {
  const times = to.width / from.width
  const [attention, wide] = [from.attention, to.attention]
  const { heads, keyValueHeads, headSize } = attention ?? { heads: 0, keyValueHeads: 0, headSize: 0 }
  const keyTimes = (wide?.keyValueHeads ?? 0) / keyValueHeads
  const hidden = from.ffn?.hidden ?? 0
  const checks: readonly (readonly [boolean, string])[] = [
    [Number.isInteger(times) && times > 1, `a width of ${to.width} is no multiple of ${from.width}`],
    [to.layers === from.layers, `${to.layers} layers, and there are ${from.layers}`],
    [to.vocab === from.vocab, `a vocabulary of ${to.vocab}, and there are ${from.vocab} tokens`],
    [
      !!attention && !!from.ffn && !from.ffn.experts && !from.stateSpace,
      'only layers of attention and a dense feed-forward part can be cloned',
    ],
    [wide?.headSize === headSize, `heads of ${wide?.headSize}, and there are heads of ${headSize}`],
    [wide?.heads === heads * times, `${wide?.heads} heads are not ${times} times ${heads}`],
    [
      Number.isInteger(keyTimes) && times % keyTimes === 0,
      `${wide?.keyValueHeads} heads of keys cannot be made of ${keyValueHeads}`,
    ],
    [to.ffn?.hidden === hidden * times, `${to.ffn?.hidden} hidden units are not ${times} times ${hidden}`],
    [!params.projectIn && !params.prompt, 'projected embeddings and soft prompts cannot be cloned'],
    [(from.norm.offset ?? 0) === 0, "norms whose weights are differences from 1 can't be cloned"],
  ]
  for (const [holds, problem] of checks) if (!holds) throw new RangeError(`widen: ${problem}`)

  const gaussian = random.gaussian(seed)
  const stream = tiled(from.width, times)
  const queries = repeated(heads, times, headSize)
  const keys = repeated(keyValueHeads, keyTimes, headSize)
  const units = tiled(hidden, times)

  /** [out, in] (or turned) with copies of its outputs, and of its inputs, which share their weights. */
  const matrix = (weight: Matrix, out: Copies, into: Copies, layout: DecoderSpec['layout']): Tensor => {
    if ('packed' in weight) throw new Error('widen: quantised weights cannot be cloned')
    const [rows, columns] = weight.sizes as [number, number]
    const [outs, ins] = layout === 'out-in' ? [rows, columns] : [columns, rows]
    const given = weight.data as Float32Array
    const share = into.length / ins
    const at = (o: number, i: number): number => given[layout === 'out-in' ? o * ins + i : i * outs + o]!
    const scale = (noise / share) * Math.sqrt(given.reduce((sum, w) => sum + w * w, 0) / given.length)
    const made = new Float32Array(out.length * into.length)
    const last = new Map<number, number>()
    for (let i = 0; i < into.length; i++) last.set(into[i]!, i)
    const drawn = new Float64Array(ins)
    for (let o = 0; o < out.length; o++) {
      drawn.fill(0)
      for (let i = 0; i < into.length; i++) {
        const source = into[i]!
        // The last copy takes back what the others have drawn.
        const own = share === 1 ? 0 : last.get(source) === i ? -drawn[source]! : scale * gaussian()
        drawn[source]! += own
        made[layout === 'out-in' ? o * into.length + i : i * out.length + o] =
          at(out[o]!, source) / share + own
      }
    }
    return tensor(made, layout === 'out-in' ? [out.length, into.length] : [into.length, out.length])
  }
  const vector = (x: Tensor, copies: Copies, factor = 1): Tensor => {
    const given = x.data as Float32Array
    return tensor(
      Float32Array.from(copies, (i) => factor * given[i]!),
      [copies.length],
    )
  }
  const linear = ({ weight, bias }: Linear, out: Copies, into: Copies): Linear => ({
    weight: matrix(weight, out, into, from.layout),
    ...(bias && { bias: vector(bias, out) }),
  })
  const norm = ({ weight, bias }: Norm, factor = 1): Norm => ({
    ...(weight && { weight: vector(weight, stream, factor) }),
    ...(bias && { bias: vector(bias, stream, factor) }),
  })
  /** Rows of a table: [rows, width]. */
  const table = (x: Matrix): Tensor => {
    if ('packed' in x) throw new Error('widen: quantised weights cannot be cloned')
    const [rows, width] = x.sizes as [number, number]
    const given = x.data as Float32Array
    const made = Float32Array.from(
      { length: rows * width * times },
      (_, i) => given[Math.floor(i / width / times) * width + (i % width)]!,
    )
    return tensor(made, [rows, width * times])
  }

  const blocks = params.blocks.map((block) => {
    const { attn, mlp } = block
    if (!attn || !('q' in attn) || attn.prefix || attn.qNorm || attn.kNorm)
      throw new Error('widen: attention needs separate queries, keys and values, without norms and prefix')
    if (!mlp || 'experts' in mlp || 'gateUp' in mlp)
      throw new Error('widen: the feed-forward part needs separate matrices')
    const norms = (['ln1', 'ln1Post', 'ln2', 'ln2Post'] as const).flatMap((name) =>
      block[name] ? [[name, norm(block[name])] as const] : [],
    )
    return {
      ...Object.fromEntries(norms),
      attn: {
        q: linear(attn.q, queries, stream),
        k: linear(attn.k, keys, stream),
        v: linear(attn.v, keys, stream),
        o: linear(attn.o, stream, queries),
      },
      mlp: {
        ...('gate' in mlp && { gate: linear(mlp.gate, units, stream) }),
        up: linear(mlp.up, units, stream),
        down: linear(mlp.down, stream, units),
      },
    }
  })
  // A tied head adds up all copies of a channel; its own matrix is divided like the others.
  const tied = !params.head
  return {
    embed: table(params.embed),
    ...(params.positions && { positions: table(params.positions) }),
    blocks,
    ...(params.lnFinal && { lnFinal: norm(params.lnFinal, tied ? 1 / times : 1) }),
    ...(params.head && {
      head: {
        weight: matrix(
          params.head.weight,
          Array.from({ length: from.vocab }, (_, i) => i),
          stream,
          'out-in',
        ),
        ...(params.head.bias && { bias: params.head.bias }),
      },
    }),
  }
}
