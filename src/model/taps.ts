/**
 * Taps: named sites of the forward pass where activations are read or edited. Names are those of
 * TransformerLens. Reads and edits are declared before tracing, so they are part of the compiled graph.
 */
import type { Tensor } from '../array/index.ts'
import { applyEdit, type Edit, type Edits, editsBySite, joinEdits } from './edits.ts'
import { type DecoderSpec, mixerOf } from './spec.ts'

export interface TapOptions {
  /** Sites to read. */
  readonly read?: readonly string[]
  /** Site -> what makes its replacement of the activation, which must have the same shape. */
  readonly edit?: Edits
}

/**
 * Shape legend of each site within a block; `T` positions, `H` heads, `K` key-value heads, `D` head size, `inner`
 * channels of a state space with `state` numbers each. What an edit makes of `ssm.hook_h` is read from, not remembered.
 */
const blockSites = {
  hook_resid_pre: 'batch T width',
  'ln1.hook_normalized': 'batch T width',
  'attn.hook_q': 'batch T H D',
  'attn.hook_k': 'batch T K D',
  'attn.hook_v': 'batch T K D',
  'attn.hook_rot_q': 'batch T H D',
  'attn.hook_rot_k': 'batch T K D',
  'attn.hook_attn_scores': 'batch H T keys',
  'attn.hook_pattern': 'batch H T keys',
  'attn.hook_z': 'batch T H D',
  'attn.hook_result': 'batch T H width',
  'ssm.hook_gate': 'batch T inner',
  'ssm.hook_x': 'batch T inner',
  'ssm.hook_conv': 'batch T inner',
  'ssm.hook_u': 'batch T inner',
  'ssm.hook_delta': 'batch T inner',
  'ssm.hook_B': 'batch T state',
  'ssm.hook_C': 'batch T state',
  'ssm.hook_h': 'batch T inner state',
  'ssm.hook_y': 'batch T inner',
  'ssm.hook_z': 'batch T inner',
  'ln1_post.hook_normalized': 'batch T width',
  hook_ssm_out: 'batch T width',
  hook_attn_out: 'batch T width',
  hook_resid_mid: 'batch T width',
  'ln2.hook_normalized': 'batch T width',
  'mlp.hook_pre': 'batch T hidden',
  'mlp.hook_pre_linear': 'batch T hidden',
  'mlp.hook_post': 'batch T hidden',
  'mlp.hook_expert_weights': 'batch T experts',
  'ln2_post.hook_normalized': 'batch T width',
  hook_mlp_out: 'batch T width',
  hook_resid_post: 'batch T width',
} as const

type BlockSite = keyof typeof blockSites

/** Every site of a decoder with its shape legend, in the order of the forward pass. */
export function sites(spec: DecoderSpec): Map<string, string> {
  const { place = 'before' } = spec.norm
  const [before, after] = [place !== 'after', place === 'after' || place === 'both']
  const rotary = spec.position.kind === 'rotary'
  const { ffn } = spec
  const mixture = ffn?.experts !== undefined
  /** Sites that not every decoder has. */
  const conditions: Partial<Record<BlockSite, boolean>> = {
    'ln1.hook_normalized': before,
    'attn.hook_rot_q': rotary,
    'attn.hook_rot_k': rotary,
    'ln1_post.hook_normalized': after,
    hook_resid_mid: !spec.parallel,
    'ln2.hook_normalized': before && spec.parallel !== 'one norm',
    'mlp.hook_pre': !mixture,
    'mlp.hook_pre_linear': !mixture && ffn?.kind === 'gated',
    'mlp.hook_post': !mixture,
    'mlp.hook_expert_weights': mixture,
    'ln2_post.hook_normalized': after,
  }
  /** Sites of the mixer that a layer does not have, and of a feed-forward part that none has. */
  const missing = (layer: number): RegExp[] => [
    mixerOf(spec, layer) === 'stateSpace' ? /^attn\.|^hook_attn/ : /^ssm\.|^hook_ssm/,
    ...(ffn ? [] : [/^ln2|^mlp\.|^hook_mlp|^hook_resid_mid/]),
  ]
  const has = (site: BlockSite, layer: number): boolean =>
    (conditions[site] ?? true) && missing(layer).every((pattern) => !pattern.test(site))
  const map = new Map<string, string>([['hook_embed', 'batch T width']])
  if (spec.position.kind === 'learned') map.set('hook_pos_embed', 'batch T width')
  for (let layer = 0; layer < spec.layers; layer++)
    for (const [site, legend] of Object.entries(blockSites))
      if (has(site as BlockSite, layer)) map.set(`blocks.${layer}.${site}`, legend)
  if (place !== 'sum') map.set('ln_final.hook_normalized', 'batch T width')
  map.set('logits', 'batch T vocab')
  return map
}

/** The reads and edits of one trace. */
export class Taps {
  readonly values = new Map<string, Tensor>()
  readonly #read: ReadonlySet<string>
  readonly #edit: ReadonlyMap<string, readonly Edit[]>
  readonly #fired = new Set<string>()
  readonly #model: DecoderSpec | ReadonlyMap<string, string>

  /** Throws for a site that the model does not have: a decoder's sites, or those given. */
  constructor(model: DecoderSpec | ReadonlyMap<string, string>, options: TapOptions = {}) {
    this.#model = model
    const known = model instanceof Map ? (model as ReadonlyMap<string, string>) : sites(model as DecoderSpec)
    this.#read = new Set(options.read)
    this.#edit = new Map(editsBySite(options.edit))
    for (const site of [...this.#read, ...this.#edit.keys()])
      if (!known.has(site)) throw new Error(unknownSite(site, [...known.keys()]))
  }

  /** Those of another pass with more reads and edits, which act after these. */
  with({ read = [], edit }: TapOptions): Taps {
    return new Taps(this.#model, {
      read: [...this.#read, ...read],
      edit: joinEdits(Object.fromEntries(this.#edit), edit),
    })
  }

  /** Whether a site is read or edited: what only a tap needs is not computed otherwise. */
  wants(site: string): boolean {
    return this.#read.has(site) || this.#edit.has(site)
  }

  /** Whether a block is tapped anywhere after its mixer. */
  wantsAfterMixer(block: string): boolean {
    return Object.keys(blockSites).some(
      (site, i, all) => i > all.indexOf('hook_attn_out') && this.wants(`${block}.${site}`),
    )
  }

  /** Throws for an edit that cannot work with a cache of past tokens. */
  refuseCache(): void {
    for (const [site, edits] of this.#edit)
      for (const { wholeSequence } of edits)
        if (wholeSequence)
          throw new Error(
            `the edit at '${site}' cannot run with a cache: ${wholeSequence}. Use run or score on whole sequences`,
          )
  }

  /** Passes an activation through a site. */
  at(site: string, activation: Tensor): Tensor {
    this.#fired.add(site)
    let value = activation
    for (const edit of this.#edit.get(site) ?? []) {
      value = applyEdit(edit, value)
      if (`${value}` !== `${activation}`)
        throw new Error(`the edit at '${site}' made ${value} of ${activation}; it must keep the type`)
    }
    if (this.#read.has(site)) this.values.set(site, value)
    return value
  }

  /** Throws where a declared site was not passed: nothing that was asked for goes missing silently. */
  finish(): Record<string, Tensor> {
    for (const site of [...this.#read, ...this.#edit.keys()])
      if (!this.#fired.has(site)) throw new Error(`the site '${site}' is not part of this forward pass`)
    return Object.fromEntries(this.values)
  }
}

function unknownSite(site: string, known: readonly string[]): string {
  const block = /^blocks\.(\d+)\./.exec(site)
  const layers = known.filter((name) => name.endsWith('.hook_resid_pre')).length
  if (block && Number(block[1]) >= layers)
    return `there is no site '${site}': the model has layers 0 to ${layers - 1}`
  const words = (name: string): string[] => name.split(/[._]/)
  const score = (name: string): number => words(name).filter((word) => words(site).includes(word)).length
  const near = [...known].sort((a, b) => score(b) - score(a)).slice(0, 3)
  return `there is no site '${site}'; did you mean ${near.map((name) => `'${name}'`).join(', ')}?`
}
