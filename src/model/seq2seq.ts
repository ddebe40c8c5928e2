/**
 * Encoder-decoders of the T5 kind (Raffel et al. 2020): biases by distance instead of positions, scores that are
 * not scaled, norms before each part.
 */
import { type Dim, iota, type Jitted, scalar, type Tensor, tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { loadSeq2Seq } from './loadEncoder.ts'
import { attend, splitHeads, visibility } from './parts/attention.ts'
import { activate, linear, norm } from './parts/linear.ts'
import type { Seq2SeqParams, Seq2SeqSpec, StackParams } from './seq2seqSpec.ts'
import type { Linear, Norm } from './spec.ts'
import { type TapOptions, Taps } from './taps.ts'

type Side = 'encoder' | 'decoder'

export interface Seq2SeqInput {
  /** i32 [batch, S] */
  readonly tokens: Tensor
  /** i32 [batch, S]: 1 for tokens, 0 for padding. */
  readonly mask: Tensor
  /** i32 [batch, T], beginning with the start token. */
  readonly targets: Tensor
}

const partSites = {
  hook_resid_pre: 'batch T width',
  'attn.hook_pattern': 'batch H T T',
  'attn.hook_z': 'batch T H D',
  hook_attn_out: 'batch T width',
  'cross.hook_pattern': 'batch H T S',
  'cross.hook_z': 'batch T H D',
  hook_cross_out: 'batch T width',
  'mlp.hook_post': 'batch T hidden',
  hook_mlp_out: 'batch T width',
  hook_resid_post: 'batch T width',
} as const

/** Every site with its shape legend: `encoder.blocks.0.hook_resid_pre`, `decoder.blocks.0.cross.hook_pattern` ... */
export function seq2seqSites(spec: Seq2SeqSpec): Map<string, string> {
  const map = new Map<string, string>()
  for (const side of ['encoder', 'decoder'] as const) {
    map.set(`${side}.hook_embed`, 'batch T width')
    for (let layer = 0; layer < spec.layers[side]; layer++)
      for (const [site, legend] of Object.entries(partSites))
        if (side === 'decoder' || !site.includes('cross')) map.set(`${side}.blocks.${layer}.${site}`, legend)
    map.set(`${side}.last_hidden_state`, 'batch T width')
  }
  map.set('logits', 'batch T vocab')
  return map
}

/** Encoder and decoder over whole sequences: logits [batch, T, vocab]. */
export function seq2seqForward(
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  input: Seq2SeqInput,
  taps: Taps,
): Tensor {
  const padding = input.mask.equal(0).expandDims(1).expandDims(1)
  const hidden = padding.where(scalar(Number.NEGATIVE_INFINITY), 0)
  const memory = stack(spec, params, 'encoder', input.tokens, hidden, undefined, taps)
  const causal = visibility(iota(input.targets.shape[1]!), input.targets.shape[1]!, undefined)
  const out = stack(spec, params, 'decoder', input.targets, causal, { memory, hidden }, taps)
  const scaled = spec.outputScale === 1 ? out : out.mul(spec.outputScale)
  return taps.at('logits', linear(scaled, params.head ?? { weight: params.embed }, 'out-in'))
}

function stack(
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  side: Side,
  tokens: Tensor,
  mask: Tensor,
  source: { readonly memory: Tensor; readonly hidden: Tensor } | undefined,
  taps: Taps,
): Tensor {
  const { blocks, bias, lnFinal }: StackParams = params[side]
  const { heads, headSize } = spec
  const rms = (value: Tensor, own: Norm): Tensor => norm(value, own, { kind: 'rms', epsilon: spec.epsilon })
  const dense = (value: Tensor, part: Linear): Tensor => linear(value, part, 'out-in')
  let x = taps.at(`${side}.hook_embed`, params.embed.gather(tokens))
  const time = tokens.shape[1]!
  const scores = distanceBias(spec, bias, time, side === 'encoder').add(mask)

  blocks.forEach((block, layer) => {
    const tap = (name: string, value: Tensor): Tensor => taps.at(`${side}.blocks.${layer}.${name}`, value)
    const mix = (
      name: 'attn' | 'cross',
      { q, k, v, o }: typeof block.attn,
      from: Tensor,
      memory: Tensor,
      added: Tensor,
    ): Tensor => {
      const split = (value: Tensor): Tensor => splitHeads(value, heads, headSize)
      const [keys, values] = [k, v].map((part) => split(dense(memory, part)).transpose([0, 2, 1, 3]))
      const z = attend(split(dense(from, q)), keys!, values!, added, { scale: 1 }, (site, value) =>
        site === 'hook_pattern' ? tap(`${name}.${site}`, value) : value,
      )
      return dense(tap(`${name}.hook_z`, z).reshape([...from.shape.slice(0, -1), heads * headSize]), o)
    }
    x = tap('hook_resid_pre', x)
    const first = rms(x, block.ln1)
    x = x.add(tap('hook_attn_out', mix('attn', block.attn, first, first, scores)))
    if (source) {
      const crossed = mix('cross', block.cross!, rms(x, block.lnCross!), source.memory, source.hidden)
      x = x.add(tap('hook_cross_out', crossed))
    }
    const ready = rms(x, block.ln2)
    const { gate, up, down } = block.mlp
    const inner = gate
      ? activate(dense(ready, gate), spec.activation).mul(dense(ready, up))
      : activate(dense(ready, up), spec.activation)
    x = tap('hook_resid_post', x.add(tap('hook_mlp_out', dense(tap('mlp.hook_post', inner), down))))
  })
  return taps.at(`${side}.last_hidden_state`, rms(x, lnFinal))
}

/** Bias of each head by the distance from query to key: [heads, T, T]. */
function distanceBias(spec: Seq2SeqSpec, table: Tensor, time: Dim, both: boolean): Tensor {
  const { distance } = spec
  const buckets = Int32Array.from({ length: 2 * distance + 1 }, (_, i) => bucketOf(spec, i - distance, both))
  // Beyond the greatest distance the bucket stays the same.
  const offset = iota(time).sub(iota(time).expandDims(-1)).maximum(-distance).minimum(distance)
  return table.gather(tensor(buckets).gather(offset.add(distance))).transpose([2, 0, 1])
}

/** The bucket of a distance (key minus query): half of them exact, the others ever wider. */
function bucketOf({ buckets, distance }: Seq2SeqSpec, offset: number, both: boolean): number {
  const count = both ? buckets / 2 : buckets
  const base = both && offset > 0 ? count : 0
  const far = both ? Math.abs(offset) : Math.max(0, -offset)
  const exact = count / 2
  if (far < exact) return base + far
  // In f32, as Hugging Face computes it: at powers of two the last digit decides.
  const f = Math.fround
  const share = f(f(Math.log(f(far / exact))) / f(Math.log(distance / exact)))
  return base + Math.min(count - 1, exact + Math.trunc(f(share * (count - exact))))
}

export interface Seq2SeqParts {
  readonly engine: Engine
  readonly spec: Seq2SeqSpec
  readonly params: Seq2SeqParams
  readonly tokenizer?: Tokenizer | undefined
  readonly path?: string
}

export class Seq2Seq {
  readonly engine: Engine
  readonly spec: Seq2SeqSpec
  readonly params: Seq2SeqParams
  readonly tokenizer: Tokenizer | undefined
  readonly path: string
  readonly #programs = new Map<string, Jitted<[Seq2SeqParams, Seq2SeqInput], Record<string, Tensor>>>()

  constructor(parts: Seq2SeqParts) {
    this.engine = parts.engine
    this.spec = parts.spec
    this.params = parts.params
    this.tokenizer = parts.tokenizer
    this.path = parts.path ?? 'model'
  }

  /** Opens a T5 checkpoint in Hugging Face layout. */
  static open(path: string, engine: Engine): Seq2Seq {
    return new Seq2Seq({ engine, ...loadSeq2Seq(path) })
  }

  /** Every site that can be read or edited, with its shape legend. */
  get sites(): Map<string, string> {
    return seq2seqSites(this.spec)
  }

  /** Runs whole sequences and gives the sites in `read`, by default the logits. Inputs: i32 [batch, S], [batch, T]. */
  async run(
    tokens: Tensor,
    targets: Tensor,
    { mask, read = ['logits'], edit = {} }: TapOptions & { readonly mask?: Tensor } = {},
  ): Promise<Record<string, Tensor>> {
    for (const id of [...tokens.data, ...targets.data])
      if (id < 0 || id >= this.spec.vocab)
        throw new RangeError(`token ${id} is outside the vocabulary of ${this.spec.vocab}`)
    // Edits are functions: a program with edits is not kept.
    const key = Object.keys(edit).length === 0 ? read.join(',') : undefined
    const program = (key !== undefined && this.#programs.get(key)) || this.#compile({ read, edit })
    if (key !== undefined) this.#programs.set(key, program)
    const all = (): Tensor => tensor(new Int32Array(tokens.data.length).fill(1), tokens.sizes)
    return program(this.params, { tokens, targets, mask: mask ?? all() })
  }

  #compile(options: TapOptions): Jitted<[Seq2SeqParams, Seq2SeqInput], Record<string, Tensor>> {
    // Unknown sites are reported before anything is compiled.
    new Taps(this.sites, options)
    const source = ['batch', 'source']
    return this.engine.jit(
      (params: Seq2SeqParams, input: Seq2SeqInput) => {
        const taps = new Taps(this.sites, options)
        seq2seqForward(this.spec, params, input, taps)
        return taps.finish()
      },
      { name: 'seq2seq', axes: [undefined, { tokens: source, mask: source, targets: ['batch', 'time'] }] },
    )
  }

  /**
   * The most likely target, token by token, without its start and end. Every step computes both stacks again:
   * right for short targets.
   */
  async greedy(
    tokens: readonly number[],
    { maxTokens = 64 }: { maxTokens?: number } = {},
  ): Promise<number[]> {
    const source = tensor(Int32Array.from(tokens), [1, tokens.length])
    const target = [this.spec.start]
    while (target.length <= maxTokens) {
      const { logits } = await this.run(source, tensor(Int32Array.from(target), [1, target.length]))
      const last = (logits!.data as Float32Array).subarray(-this.spec.vocab)
      const next = last.reduce((best, value, i) => (value > last[best]! ? i : best), 0)
      if (this.spec.ends.includes(next)) break
      target.push(next)
    }
    return target.slice(1)
  }

  dispose(): void {
    for (const program of this.#programs.values()) program.dispose()
    this.#programs.clear()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
