/** Models in GGUF files: their metadata and tensor names, by the table of architectures. */
import * as z from 'zod'
import type { DecoderSpec } from '../spec.ts'
import { llamaModules, named } from './common.ts'
import { blocks, type DecoderNames, type Family, layerCount, positive, readConfig } from './family.ts'
import { architectures, type GgufArchitecture, type GgufFields } from './ggufArchitectures.ts'

const count = positive
const real = z.number().positive()

/** Keys of all architectures, without the architecture's name. */
const common = {
  block_count: layerCount,
  context_length: count,
  embedding_length: count,
  feed_forward_length: count,
  'attention.head_count': count,
  'attention.head_count_kv': count.optional(),
  'attention.key_length': count.optional(),
  'attention.value_length': count.optional(),
  'attention.layer_norm_rms_epsilon': real.optional(),
  'attention.layer_norm_epsilon': real.optional(),
  'rope.dimension_count': count.optional(),
  'rope.freq_base': real.default(10000),
  'rope.scaling.type': z
    .enum(['none', 'linear'], { error: 'rope scaling is not supported yet, but for linear' })
    .optional(),
  'rope.scaling.factor': real.optional(),
  vocab_size: count.optional(),
  expert_count: z.literal(0, { error: 'experts are not supported yet' }).optional(),
}
type Fields = z.output<z.ZodObject<typeof common>>

const family = (architecture: GgufArchitecture): Family => ({
  id: architecture.id,
  describe(config, has) {
    const { id, keys = [] } = architecture
    const all = config as Record<string, unknown>
    const prefix = `${id}.`
    const own = Object.fromEntries(
      Object.entries(all).flatMap(([key, value]) =>
        key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [],
      ),
    )
    // Hyperparameters that are not listed could change the result; other metadata describes the file.
    const unknown = Object.keys(own).filter((key) => !(key in common) && !keys.includes(key))
    if (unknown.length > 0)
      throw new Error(
        `${id} configuration: unknown keys ${unknown.map((key) => `${prefix}${key}`).join(', ')}`,
      )
    const c = readConfig(z.object(common), own, id)
    const vocabulary = c.vocab_size ?? (all['tokenizer.ggml.tokens'] as unknown[] | undefined)?.length
    if (!vocabulary) throw new Error(`${id} configuration: neither ${id}.vocab_size nor a vocabulary`)
    return {
      spec: specOf(architecture, c, vocabulary, fieldsOf(own, id)),
      names: namesOf(architecture, c.block_count, has),
      ...(architecture.llamaModules && {
        moduleNames: llamaModules(c.block_count, !has('output.weight')),
      }),
    }
  },
})

function fieldsOf(own: Readonly<Record<string, unknown>>, id: string): GgufFields {
  const wrong = (key: string, type: string): never => {
    throw new Error(`${id} configuration: '${key}': expected a ${type}`)
  }
  return {
    number(key) {
      const value = own[key]
      if (value === undefined || value === 0) return undefined
      return Number.isFinite(value) && (value as number) > 0
        ? (value as number)
        : wrong(key, 'positive number')
    },
    count(key) {
      const value = own[key]
      if (value === undefined) return undefined
      return Number.isSafeInteger(value) && (value as number) > 0
        ? (value as number)
        : wrong(key, 'positive whole number')
    },
    flag(key) {
      const value = own[key]
      return value === undefined || typeof value === 'boolean' ? value : wrong(key, 'truth value')
    },
  }
}

function specOf(architecture: GgufArchitecture, c: Fields, vocab: number, fields: GgufFields): DecoderSpec {
  const { id, normalize, activation } = architecture
  const heads = c['attention.head_count']
  const width = c.embedding_length
  const headSize = c['attention.key_length'] ?? width / heads
  if (!Number.isInteger(headSize) || (c['attention.value_length'] ?? headSize) !== headSize)
    throw new Error(`${id} configuration: keys of ${headSize} and values of another size are not supported`)
  const keyValueHeads = c['attention.head_count_kv'] ?? heads
  if (heads % keyValueHeads !== 0)
    throw new Error(`${id} configuration: ${heads} heads do not divide into ${keyValueHeads} groups`)
  const key =
    architecture.norm === 'rms' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon'
  const epsilon = c[key]
  if (epsilon === undefined) throw new Error(`${id} configuration: '${key}' is missing`)
  const sizes = { width, layers: c.block_count, heads, headSize }
  const { attention, norm, windowedBase, ...more } = architecture.more?.(fields, sizes) ?? {}
  return {
    vocab,
    width,
    layers: c.block_count,
    context: c.context_length,
    norm: { kind: architecture.norm, epsilon, ...norm },
    position: positionOf(architecture, c, headSize, windowedBase),
    attention: { heads, keyValueHeads, headSize, ...(normalize && { normalize }), ...attention },
    ffn: { kind: architecture.ffn, hidden: c.feed_forward_length, activation },
    layout: 'out-in',
    ...more,
  }
}

function positionOf(
  { id, position }: GgufArchitecture,
  c: Fields,
  headSize: number,
  windowedBase: number | undefined,
): DecoderSpec['position'] {
  if (position === 'learned') return { kind: 'learned' }
  const size = c['rope.dimension_count'] ?? headSize
  if (size > headSize || size % 2 !== 0)
    throw new Error(`${id} configuration: ${size} of the ${headSize} dimensions of a head would be rotated`)
  const linear = c['rope.scaling.type'] === 'linear'
  return {
    kind: 'rotary',
    base: c['rope.freq_base'],
    interleaved: position === 'neighbours',
    ...(size !== headSize && { size }),
    ...(linear && { scaling: { kind: 'linear', factor: c['rope.scaling.factor'] ?? 1 } }),
    ...(windowedBase !== undefined && { windowedBase }),
  }
}

/** Biases, a head of its own, and joined projections are there if the file has them. */
function namesOf(
  architecture: GgufArchitecture,
  layers: number,
  has: (name: string) => boolean,
): DecoderNames {
  const part = (name: string) => named(name, has(`${name}.bias`))
  return {
    embed: 'token_embd.weight',
    ...(architecture.position === 'learned' && { positions: 'position_embd.weight' }),
    blocks: blocks(layers, (i) => {
      const own = (name: string) => part(`blk.${i}.${name}`)
      const apart = !architecture.joined && has(`blk.${i}.attn_q.weight`)
      return {
        ...Object.fromEntries(
          Object.entries(architecture.norms).map(([place, name]) => [place, name === null ? {} : own(name)]),
        ),
        attn: {
          ...(apart ? { q: own('attn_q'), k: own('attn_k'), v: own('attn_v') } : { qkv: own('attn_qkv') }),
          o: own('attn_output'),
          ...(architecture.normalize && { qNorm: own('attn_q_norm'), kNorm: own('attn_k_norm') }),
        },
        mlp: {
          ...(architecture.ffn === 'gated' && { gate: own('ffn_gate') }),
          up: own('ffn_up'),
          down: own('ffn_down'),
        },
      }
    }),
    lnFinal: architecture.norms.ln1 === null ? {} : part('output_norm'),
    head: has('output.weight') ? part('output') : undefined,
  }
}

export const ggufFamilies: readonly Family[] = architectures.map(family)
