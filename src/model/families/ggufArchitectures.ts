/**
 * Architectures of GGUF files, as llama.cpp runs them: what is implied by the name, and what else a file's metadata
 * says. Names of tensors and keys: llama.cpp, gguf-py/gguf/constants.py.
 */
import type { Activation, AttentionSpec, DecoderSpec, FfnSpec, NormSpec } from '../spec.ts'
import { blocks } from './family.ts'

/** Metadata of one architecture, by keys without its name. */
export interface GgufFields {
  /** Positive; 0 is none. */
  number(key: string): number | undefined
  count(key: string): number | undefined
  flag(key: string): boolean | undefined
}

/** What all architectures say alike. */
export type GgufSizes = Pick<DecoderSpec, 'width' | 'layers'> & {
  readonly heads: number
  readonly headSize: number
}

export interface GgufArchitecture {
  /** `general.architecture` */
  readonly id: string
  /** `model_type` of the configurations that it holds. */
  readonly from: readonly string[]
  readonly norm: NormSpec['kind']
  readonly ffn: FfnSpec['kind']
  readonly activation: Activation
  /** Learned positions, or rotary ones: whether pairs are neighbours, for which rows of queries and keys are moved. */
  readonly position: 'learned' | 'halves' | 'neighbours'
  /** Norms of a block by their places; null where they have no weights. */
  readonly norms: Readonly<Partial<Record<'ln1' | 'ln1Post' | 'ln2' | 'ln2Post', string | null>>>
  /** Queries, keys and values are one matrix. */
  readonly joined?: boolean
  /** Norms of queries and keys. */
  readonly normalize?: 'head' | 'all'
  /** Norms here are differences from 1 in Hugging Face's layout, and whole here. */
  readonly wholeNorms?: boolean
  /** Whether Hugging Face's modules have Llama's names, by which adapters are addressed. */
  readonly llamaModules?: boolean
  /** Keys beside those of all architectures. */
  readonly keys?: readonly string[]
  readonly more?: (fields: GgufFields, sizes: GgufSizes) => More
}

interface More extends Partial<Omit<DecoderSpec, 'attention' | 'norm'>> {
  readonly attention?: Partial<AttentionSpec>
  readonly norm?: Partial<NormSpec>
  readonly windowedBase?: number
}

const before = { ln1: 'attn_norm', ln2: 'ffn_norm' } as const
const both = { ...before, ln1Post: 'post_attention_norm', ln2Post: 'post_ffw_norm' } as const
const llamaLike = { norm: 'rms', ffn: 'gated', activation: 'silu', norms: before } as const
const gptLike = { norm: 'layer', ffn: 'plain', activation: 'gelu-tanh', norms: before } as const

const gemma = { ...llamaLike, activation: 'gelu-tanh', position: 'halves', wholeNorms: true } as const
/** The largest Gemma of a generation scales scores by what a head would have of the width; others by its size. */
const gemmaScale = ({ width, layers, heads, headSize }: GgufSizes, largest: number): number =>
  (layers === largest ? width / heads : headSize) ** -0.5

export const architectures: readonly GgufArchitecture[] = [
  { ...llamaLike, id: 'llama', from: ['llama', 'mistral'], position: 'neighbours', llamaModules: true },
  { ...llamaLike, id: 'qwen2', from: ['qwen2'], position: 'halves', llamaModules: true },
  { ...llamaLike, id: 'qwen3', from: ['qwen3'], position: 'halves', normalize: 'head' },
  {
    ...gemma,
    id: 'gemma',
    from: ['gemma'],
    more: (_, { width }) => ({ embedScale: Math.sqrt(width) }),
  },
  {
    ...gemma,
    id: 'gemma2',
    from: ['gemma2'],
    norms: both,
    keys: ['attn_logit_softcapping', 'final_logit_softcapping', 'attention.sliding_window'],
    more: (fields, sizes) => ({
      embedScale: Math.sqrt(sizes.width),
      norm: { place: 'both' },
      logitSoftcap: fields.number('final_logit_softcapping') ?? 30,
      attention: {
        scale: gemmaScale(sizes, 46),
        softcap: fields.number('attn_logit_softcapping') ?? 50,
        window: {
          size: fields.count('attention.sliding_window') ?? 4096,
          layers: blocks(sizes.layers, (layer) => layer % 2 === 0),
        },
      },
    }),
  },
  {
    ...gemma,
    id: 'gemma3',
    from: ['gemma3_text'],
    norms: both,
    normalize: 'head',
    keys: ['final_logit_softcapping', 'attention.sliding_window', 'rope.freq_base_swa'],
    more: (fields, sizes) => ({
      embedScale: Math.sqrt(sizes.width),
      norm: { place: 'both' },
      logitSoftcap: fields.number('final_logit_softcapping'),
      windowedBase: fields.number('rope.freq_base_swa') ?? 10000,
      attention: {
        scale: gemmaScale(sizes, 62),
        window: {
          size: fields.count('attention.sliding_window') ?? 1024,
          layers: blocks(sizes.layers, (layer) => layer % 6 < 5),
        },
      },
    }),
  },
  { ...gptLike, id: 'gpt2', from: ['gpt2'], position: 'learned', joined: true },
  {
    ...gptLike,
    id: 'gptneox',
    from: ['gpt_neox'],
    // What these models were trained with. llama.cpp approximates it with tanh.
    activation: 'gelu',
    position: 'halves',
    joined: true,
    keys: ['use_parallel_residual'],
    more: (fields) => ({
      parallel: (fields.flag('use_parallel_residual') ?? true) ? 'two norms' : undefined,
    }),
  },
  {
    ...gptLike,
    id: 'phi2',
    from: ['phi'],
    position: 'halves',
    norms: { ln1: 'attn_norm' },
    more: () => ({ parallel: 'one norm' }),
  },
  { ...gptLike, id: 'starcoder2', from: ['starcoder2'], position: 'halves' },
  {
    ...llamaLike,
    id: 'olmo',
    from: ['olmo'],
    norm: 'layer',
    norms: { ln1: null, ln2: null },
    position: 'neighbours',
    keys: ['attention.clamp_kqv'],
    more: (fields) => ({ attention: { clip: fields.number('attention.clamp_kqv') } }),
  },
  {
    ...llamaLike,
    id: 'olmo2',
    from: ['olmo2'],
    norms: { ln1Post: both.ln1Post, ln2Post: both.ln2Post },
    normalize: 'all',
    position: 'halves',
    more: () => ({ norm: { place: 'after' } }),
  },
]
