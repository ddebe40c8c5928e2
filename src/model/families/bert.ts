/** BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019), DistilBERT (Sanh et al. 2019), ELECTRA (Clark et al. 2020). */
import * as z from 'zod'
import type { EncoderNames, EncoderSpec } from '../encoderSpec.ts'
import { activation, activationNames, named } from './common.ts'
import { blocks, inert, layerCount, positive, readConfig } from './family.ts'

export interface DescribedEncoder {
  readonly spec: EncoderSpec
  readonly names: EncoderNames
  readonly ignore?: (name: string) => boolean
}
export interface EncoderFamily {
  readonly id: string
  describe(config: unknown, has: (name: string) => boolean): DescribedEncoder
}

const ignored = z.unknown().optional()
const shared = {
  ...inert,
  vocab_size: positive,
  max_position_embeddings: positive,
  id2label: ignored,
  label2id: ignored,
  problem_type: ignored,
  gradient_checkpointing: ignored,
  tie_word_embeddings: z.literal(true).default(true),
}
const keys = {
  ...shared,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: layerCount,
  num_attention_heads: positive,
  type_vocab_size: positive.default(2),
  hidden_act: activation.default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-12),
  position_embedding_type: z.literal('absolute').optional(),
  is_decoder: z.literal(false).optional(),
  add_cross_attention: z.literal(false).optional(),
  attention_probs_dropout_prob: ignored,
  hidden_dropout_prob: ignored,
  classifier_dropout: ignored,
  // Google's notes on the pooler, which is always of the same kind.
  directionality: ignored,
  pooler_fc_size: ignored,
  pooler_num_attention_heads: ignored,
  pooler_num_fc_layers: ignored,
  pooler_size_per_head: ignored,
  pooler_type: ignored,
}
type Config = z.output<z.ZodObject<typeof keys>>

const specOf = (c: Config, more: Partial<EncoderSpec> = {}): EncoderSpec => ({
  vocab: c.vocab_size,
  width: c.hidden_size,
  embedWidth: c.hidden_size,
  layers: c.num_hidden_layers,
  positions: c.max_position_embeddings,
  segments: c.type_vocab_size,
  heads: headsOf(c.hidden_size, c.num_attention_heads),
  hidden: c.intermediate_size,
  activation: activationNames[c.hidden_act],
  epsilon: c.layer_norm_eps,
  ...more,
})

function headsOf(width: number, heads: number): number {
  if (width % heads !== 0) throw new Error(`a width of ${width} does not divide into ${heads} heads`)
  return heads
}

/** Names of BERT's modelling code under a prefix such as 'bert.'; norms of the first releases have gamma and beta. */
function bertNames(prefix: string, layers: number, has: (name: string) => boolean) {
  const norm = (name: string) =>
    has(`${prefix}${name}.gamma`)
      ? { weight: `${prefix}${name}.gamma`, bias: `${prefix}${name}.beta` }
      : named(`${prefix}${name}`, true)
  const pair = (name: string) => named(`${prefix}${name}`, true)
  return {
    embed: `${prefix}embeddings.word_embeddings.weight`,
    positions: `${prefix}embeddings.position_embeddings.weight`,
    segments: `${prefix}embeddings.token_type_embeddings.weight`,
    lnEmbed: norm('embeddings.LayerNorm'),
    blocks: blocks(layers, (i) => {
      const layer = `encoder.layer.${i}`
      return {
        attn: {
          q: pair(`${layer}.attention.self.query`),
          k: pair(`${layer}.attention.self.key`),
          v: pair(`${layer}.attention.self.value`),
          o: pair(`${layer}.attention.output.dense`),
        },
        ln1: norm(`${layer}.attention.output.LayerNorm`),
        mlp: { up: pair(`${layer}.intermediate.dense`), down: pair(`${layer}.output.dense`) },
        ln2: norm(`${layer}.output.LayerNorm`),
      }
    }),
    pooler: has(`${prefix}pooler.dense.weight`) ? pair('pooler.dense') : undefined,
  }
}

/** Buffers, and heads of training that we do not run. */
const spare =
  (...more: readonly RegExp[]) =>
  (name: string): boolean =>
    [/embeddings\.position_ids$/, ...more].some((pattern) => pattern.test(name))

const bert: EncoderFamily = {
  id: 'bert',
  describe(config, has) {
    const c = readConfig(z.strictObject({ ...keys, model_type: z.literal('bert') }), config, 'bert')
    const prefix = has('embeddings.word_embeddings.weight') ? '' : 'bert.'
    const head = 'cls.predictions'
    return {
      spec: specOf(c),
      names: {
        ...bertNames(prefix, c.num_hidden_layers, has),
        head: has(`${head}.bias`)
          ? {
              transform: named(`${head}.transform.dense`, true),
              norm: has(`${head}.transform.LayerNorm.gamma`)
                ? { weight: `${head}.transform.LayerNorm.gamma`, bias: `${head}.transform.LayerNorm.beta` }
                : named(`${head}.transform.LayerNorm`, true),
              bias: `${head}.bias`,
            }
          : undefined,
      },
      ignore: spare(/^cls\.predictions\.decoder\./, /^cls\.seq_relationship\./),
    }
  },
}

const robertaSchema = z.strictObject({ ...keys, model_type: z.literal('roberta') })
const roberta: EncoderFamily = {
  id: 'roberta',
  describe(config, has) {
    const c = readConfig(robertaSchema, config, 'roberta')
    const prefix = has('embeddings.word_embeddings.weight') ? '' : 'roberta.'
    const padding = z
      .int()
      .nonnegative()
      .default(1)
      .parse(c.pad_token_id ?? undefined)
    return {
      spec: specOf(c, { firstPosition: padding + 1 }),
      names: {
        ...bertNames(prefix, c.num_hidden_layers, has),
        head: has('lm_head.bias')
          ? {
              transform: named('lm_head.dense', true),
              norm: named('lm_head.layer_norm', true),
              bias: 'lm_head.bias',
            }
          : undefined,
      },
      ignore: spare(/^lm_head\.decoder\./),
    }
  },
}

const electraSchema = z.strictObject({
  ...keys,
  model_type: z.literal('electra'),
  embedding_size: positive,
  generator_size: ignored,
  summary_activation: ignored,
  summary_last_dropout: ignored,
  summary_type: ignored,
  summary_use_proj: ignored,
})
const electra: EncoderFamily = {
  id: 'electra',
  describe(config, has) {
    const c = readConfig(electraSchema, config, 'electra')
    const prefix = has('embeddings.word_embeddings.weight') ? '' : 'electra.'
    return {
      spec: specOf(c, { embedWidth: c.embedding_size }),
      names: {
        ...bertNames(prefix, c.num_hidden_layers, has),
        project: c.embedding_size === c.hidden_size ? undefined : named(`${prefix}embeddings_project`, true),
        // A generator predicts tokens; a discriminator has another head, which is not run.
        head: has('generator_lm_head.bias')
          ? {
              transform: named('generator_predictions.dense', true),
              norm: named('generator_predictions.LayerNorm', true),
              bias: 'generator_lm_head.bias',
            }
          : undefined,
      },
      ignore: spare(/^discriminator_predictions\./, /^generator_lm_head\.weight$/),
    }
  },
}

const distilbertSchema = z.strictObject({
  ...shared,
  model_type: z.literal('distilbert'),
  dim: positive,
  hidden_dim: positive,
  n_layers: layerCount,
  n_heads: positive,
  activation: activation.default('gelu'),
  sinusoidal_pos_embds: ignored,
  tie_weights_: ignored,
  dropout: ignored,
  qa_dropout: ignored,
  seq_classif_dropout: ignored,
})
const distilbert: EncoderFamily = {
  id: 'distilbert',
  describe(config, has) {
    const c = readConfig(distilbertSchema, config, 'distilbert')
    const prefix = has('embeddings.word_embeddings.weight') ? '' : 'distilbert.'
    const pair = (name: string) => named(`${prefix}${name}`, true)
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.dim,
        embedWidth: c.dim,
        layers: c.n_layers,
        positions: c.max_position_embeddings,
        segments: 0,
        heads: headsOf(c.dim, c.n_heads),
        hidden: c.hidden_dim,
        activation: activationNames[c.activation],
        epsilon: 1e-12,
      },
      names: {
        embed: `${prefix}embeddings.word_embeddings.weight`,
        positions: `${prefix}embeddings.position_embeddings.weight`,
        lnEmbed: pair('embeddings.LayerNorm'),
        blocks: blocks(c.n_layers, (i) => {
          const layer = `transformer.layer.${i}`
          return {
            attn: {
              q: pair(`${layer}.attention.q_lin`),
              k: pair(`${layer}.attention.k_lin`),
              v: pair(`${layer}.attention.v_lin`),
              o: pair(`${layer}.attention.out_lin`),
            },
            ln1: pair(`${layer}.sa_layer_norm`),
            mlp: { up: pair(`${layer}.ffn.lin1`), down: pair(`${layer}.ffn.lin2`) },
            ln2: pair(`${layer}.output_layer_norm`),
          }
        }),
        head: has('vocab_projector.bias')
          ? {
              transform: named('vocab_transform', true),
              norm: named('vocab_layer_norm', true),
              bias: 'vocab_projector.bias',
            }
          : undefined,
      },
      ignore: spare(/^vocab_projector\.weight$/),
    }
  },
}

export const encoderFamilies: readonly EncoderFamily[] = [bert, distilbert, electra, roberta]
