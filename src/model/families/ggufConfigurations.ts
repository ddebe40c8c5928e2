/**
 * Configurations in Hugging Face layout for the architectures of GGUF files: the inverse of what the families read, as
 * data. Whether one says all of a model is not decided here: it is read again, and compared (`convert/counterparts.ts`).
 */
import { type DecoderSpec, partOf } from '../spec.ts'
import type { DecoderNames } from './family.ts'

type Values = Readonly<Record<string, unknown>>

/** What a configuration is written from. */
interface Facts {
  readonly spec: DecoderSpec
  readonly attention: NonNullable<DecoderSpec['attention']>
  readonly ffn: NonNullable<DecoderSpec['ffn']>
  readonly tied: boolean
  /** Whether queries and the feed-forward part have biases. */
  readonly attentionBias: boolean
  readonly mlpBias: boolean
}

interface Configuration {
  /** `model_type` */
  readonly type: string
  /** The class of transformers. */
  readonly architecture: string
  readonly keys: (facts: Facts) => Values
}

/** Sizes under the names that they have had since GPT-NeoX. */
const sizes = ({ spec, attention, ffn, tied }: Facts): Values => ({
  vocab_size: spec.vocab,
  hidden_size: spec.width,
  intermediate_size: ffn.hidden,
  num_hidden_layers: spec.layers,
  num_attention_heads: attention.heads,
  max_position_embeddings: spec.context,
  tie_word_embeddings: tied,
})

const grouped = (facts: Facts): Values => ({
  ...sizes(facts),
  num_key_value_heads: facts.attention.keyValueHeads,
})

const rope = ({ spec: { position } }: Facts): Values =>
  position.kind === 'rotary'
    ? {
        rope_theta: shortest(position.base),
        ...(position.scaling?.kind === 'linear' && {
          rope_scaling: { rope_type: 'linear', factor: shortest(position.scaling.factor) },
        }),
      }
    : {}

/** The share of a head that is rotated. */
const rotated = ({ spec: { position }, attention: { headSize } }: Facts): number =>
  ((position.kind === 'rotary' ? position.size : undefined) ?? headSize) / headSize

const activations = { gelu: 'gelu', 'gelu-tanh': 'gelu_pytorch_tanh', silu: 'silu', relu: 'relu' } as const
const epsilon = ({ spec }: Facts): number => shortest(spec.norm.epsilon)
const activationOf = ({ ffn }: Facts): string => activations[ffn.activation]

/** Keys of Llama and of those after it. */
const llamaLike = (facts: Facts): Values => ({
  ...grouped(facts),
  ...rope(facts),
  hidden_act: activationOf(facts),
})
const rms = (facts: Facts): Values => ({ ...llamaLike(facts), rms_norm_eps: epsilon(facts) })

const gemma = (facts: Facts): Values => ({
  ...rms(facts),
  hidden_activation: activationOf(facts),
  head_dim: facts.attention.headSize,
  attention_bias: facts.attentionBias,
})
const laterGemma = (facts: Facts): Values => {
  const { scale, softcap, window } = facts.attention
  return {
    ...gemma(facts),
    query_pre_attn_scalar: shortest((scale ?? facts.attention.headSize ** -0.5) ** -2),
    attn_logit_softcapping: capOf(softcap),
    final_logit_softcapping: capOf(facts.spec.logitSoftcap),
    ...(window && { sliding_window: window.size }),
  }
}
const capOf = (cap: number | undefined): number | null => (cap === undefined ? null : shortest(cap))

/** By `general.architecture`. */
export const configurations: Readonly<Record<string, Configuration>> = {
  llama: {
    type: 'llama',
    architecture: 'LlamaForCausalLM',
    keys: (facts) => ({
      ...rms(facts),
      head_dim: facts.attention.headSize,
      ...(facts.attentionBias && { attention_bias: true }),
      ...(facts.mlpBias && { mlp_bias: true }),
    }),
  },
  // Whose biases no key takes away.
  qwen2: { type: 'qwen2', architecture: 'Qwen2ForCausalLM', keys: rms },
  qwen3: {
    type: 'qwen3',
    architecture: 'Qwen3ForCausalLM',
    keys: (facts) => ({
      ...rms(facts),
      head_dim: facts.attention.headSize,
      attention_bias: facts.attentionBias,
    }),
  },
  gemma: { type: 'gemma', architecture: 'GemmaForCausalLM', keys: gemma },
  gemma2: { type: 'gemma2', architecture: 'Gemma2ForCausalLM', keys: laterGemma },
  gemma3: {
    type: 'gemma3_text',
    architecture: 'Gemma3ForCausalLM',
    keys: (facts) => {
      const { position } = facts.spec
      const windowed = facts.attention.window?.layers
      return {
        ...laterGemma(facts),
        ...(position.kind === 'rotary' && {
          rope_local_base_freq: shortest(position.windowedBase ?? position.base),
        }),
        ...(windowed && {
          layer_types: windowed.map((window) => (window ? 'sliding_attention' : 'full_attention')),
        }),
      }
    },
  },
  gpt2: {
    type: 'gpt2',
    architecture: 'GPT2LMHeadModel',
    keys: ({ spec, attention, ffn, tied }) => ({
      vocab_size: spec.vocab,
      n_positions: spec.context,
      n_embd: spec.width,
      n_layer: spec.layers,
      n_head: attention.heads,
      n_inner: ffn.hidden,
      activation_function: ffn.activation === 'gelu-tanh' ? 'gelu_new' : activations[ffn.activation],
      layer_norm_epsilon: shortest(spec.norm.epsilon),
      tie_word_embeddings: tied,
    }),
  },
  gptneox: {
    type: 'gpt_neox',
    architecture: 'GPTNeoXForCausalLM',
    keys: (facts) => {
      const { rope_theta: base, ...scaling } = rope(facts)
      return {
        ...sizes(facts),
        ...scaling,
        rotary_emb_base: base,
        rotary_pct: rotated(facts),
        layer_norm_eps: epsilon(facts),
        hidden_act: activationOf(facts),
        use_parallel_residual: facts.spec.parallel === 'two norms',
        attention_bias: facts.attentionBias,
      }
    },
  },
  phi2: {
    type: 'phi',
    architecture: 'PhiForCausalLM',
    keys: (facts) => ({
      ...llamaLike(facts),
      hidden_act: facts.ffn.activation === 'gelu-tanh' ? 'gelu_new' : activationOf(facts),
      layer_norm_eps: epsilon(facts),
      partial_rotary_factor: rotated(facts),
    }),
  },
  starcoder2: {
    type: 'starcoder2',
    architecture: 'Starcoder2ForCausalLM',
    keys: (facts) => ({
      ...llamaLike(facts),
      norm_epsilon: epsilon(facts),
      use_bias: facts.attentionBias,
      sliding_window: null,
    }),
  },
  olmo: {
    type: 'olmo',
    architecture: 'OlmoForCausalLM',
    keys: (facts) => ({
      ...llamaLike(facts),
      clip_qkv: capOf(facts.attention.clip),
      attention_bias: facts.attentionBias,
    }),
  },
  olmo2: {
    type: 'olmo2',
    architecture: 'Olmo2ForCausalLM',
    keys: (facts) => ({ ...rms(facts), attention_bias: facts.attentionBias }),
  },
}

/** The configuration of a model of this architecture, without what is said of its tokenizer and its numbers. */
export function configurationOf(id: string, spec: DecoderSpec, names: DecoderNames): Values {
  const found = Object.hasOwn(configurations, id) ? configurations[id] : undefined
  if (!found) throw new Error(`the architecture ${id} has no configuration in Hugging Face layout yet`)
  const [first] = names.blocks
  const { attn, mlp } = first ?? {}
  const facts: Facts = {
    spec,
    attention: partOf(spec, 'attention'),
    ffn: partOf(spec, 'ffn'),
    tied: names.head === undefined,
    attentionBias: !!attn && ('qkv' in attn ? attn.qkv : attn.q).bias !== undefined,
    mlpBias: !!mlp && 'up' in mlp && mlp.up.bias !== undefined,
  }
  return { architectures: [found.architecture], model_type: found.type, ...found.keys(facts) }
}

/** The shortest decimal that is this f32: 1e-5 and not 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === Math.fround(value)) return rounded
  }
  return value
}
