/** A model in Hugging Face layout as a GGUF file, as llama.cpp's `convert_hf_to_gguf.py` writes it. */
import { statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import {
  type GgufValue,
  ggmlBlocks,
  openCheckpoint,
  readFloats,
  type TensorEntry,
  type TensorSource,
  writeGguf,
} from '../../store/index.ts'
import { tokenizerToGguf } from '../../text/index.ts'
import type { DecoderNames, Described } from '../families/family.ts'
import { architectures, type GgufArchitecture } from '../families/ggufArchitectures.ts'
import { familyOf } from '../families/index.ts'
import { load } from '../load.ts'
import { type DecoderSpec, partOf } from '../spec.ts'
import { counterparts, placesOf } from './counterparts.ts'
import { changed } from './rows.ts'
import type { Conversion } from './toHuggingFace.ts'

export type GgufWeights = 'f32' | 'f16' | 'q8_0' | 'q4_0'

/** `general.file_type`: what most of the weights are (llama.cpp's `llama_ftype`). */
const fileTypes: Readonly<Record<GgufWeights, number>> = { f32: 0, f16: 1, q4_0: 2, q8_0: 7 }

/**
 * Writes a model folder as one GGUF file, atomically. Matrices become `type`; vectors stay f32, and matrices
 * whose rows are not whole blocks become f16, as in llama.cpp; `kept` names those. Throws for what GGUF's llama
 * cannot say.
 */
export function convertToGguf(folder: string, output: string, type: GgufWeights): Conversion {
  const model = load(folder)
  const checkpoint = openCheckpoint(folder)
  const architecture = architectures.find(({ from }) => from.includes(model.family))
  if (checkpoint.format !== 'safetensors' || !architecture) {
    const known = architectures.flatMap(({ from }) => from).join(', ')
    throw new Error(
      `${folder}: ${model.family} in ${checkpoint.format} cannot become GGUF; in Hugging Face layout there are ${known}`,
    )
  }
  const { id } = architecture
  const { spec, names } = model
  const metadata: Record<string, GgufValue> = {
    'general.architecture': ['string', id],
    'general.type': ['string', 'model'],
    'general.name': ['string', basename(resolve(folder))],
    'general.file_type': ['u32', fileTypes[type]],
    'general.quantization_version': ['u32', 2],
    ...hyperparameters(architecture, spec),
    ...(model.tokenizer ? tokenizerToGguf(model.tokenizer, folder, spec.vocab) : noTokenizer),
  }
  const plain = Object.fromEntries(Object.entries(metadata).map(([key, [, value]]) => [key, value]))
  const target = describe(id, plain, names)

  const kept: string[] = []
  const tensors = counterparts({ spec, names }, target, `GGUF's ${id}`).map(
    ({ from, to, changes }): TensorSource => {
      const entry = checkpoint.tensors.get(from)!
      const transposed = changes.some(({ kind }) => kind === 'transposed')
      const shape = transposed ? entry.shape.toReversed() : entry.shape
      // Positions are looked up, like vectors.
      const own = to === 'position_embd.weight' ? 'f32' : typeOf(shape, type)
      if (own !== type && shape.length > 1) kept.push(`${to} in ${own}`)
      const data = (): Float32Array =>
        changes.reduce(
          (values, change) => changed(values, change, entry.shape, partOf(spec, 'attention').headSize),
          floats(entry, own),
        )
      return { name: to, type: own, shape, data }
    },
  )
  writeGguf(output, metadata, tensors)
  return { files: [{ path: output, bytes: statSync(output).size }], tensors: tensors.length, kept }
}

/** The model as the file will be read: what is optional there is there where the model has it. */
function describe(id: string, metadata: Readonly<Record<string, unknown>>, names: DecoderNames): Described {
  const family = familyOf('gguf', id)
  const joined = placesOf(names).some(([place]) => place.includes('.qkv.'))
  const possible = family.describe(metadata, (name) => !(joined && name.includes('.attn_q.')))
  const places = new Map(placesOf(possible.names).map(([place, name]) => [name, place]))
  const own = new Set(placesOf(names).map(([place]) => place))
  return family.describe(metadata, (name) => own.has(places.get(name) ?? ''))
}

/** What the architecture has no key for is left out here, and refused when the two models are compared. */
function hyperparameters(
  { id, norm: kind, keys = [] }: GgufArchitecture,
  spec: DecoderSpec,
): Record<string, GgufValue> {
  const { width, layers, context, vocab, norm, position, parallel, logitSoftcap } = spec
  const [attention, ffn] = [partOf(spec, 'attention'), partOf(spec, 'ffn')]
  const { heads, keyValueHeads, headSize, softcap, window, clip } = attention
  const values: Record<string, GgufValue> = {
    block_count: ['u32', layers],
    context_length: ['u32', context],
    embedding_length: ['u32', width],
    feed_forward_length: ['u32', ffn.hidden],
    'attention.head_count': ['u32', heads],
    'attention.head_count_kv': ['u32', keyValueHeads],
    [kind === 'rms' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon']: [
      'f32',
      norm.epsilon,
    ],
    vocab_size: ['u32', vocab],
  }
  if (position.kind === 'rotary') {
    values['rope.dimension_count'] = ['u32', position.size ?? headSize]
    values['rope.freq_base'] = ['f32', position.base]
    if (position.windowedBase !== undefined && position.windowedBase !== 10000)
      values['rope.freq_base_swa'] = ['f32', position.windowedBase]
    if (position.scaling?.kind === 'linear') {
      values['rope.scaling.type'] = ['string', 'linear']
      values['rope.scaling.factor'] = ['f32', position.scaling.factor]
    }
  }
  if (headSize * heads !== width) {
    values['attention.key_length'] = ['u32', headSize]
    values['attention.value_length'] = ['u32', headSize]
  }
  const own: Readonly<Record<string, GgufValue | undefined>> = {
    attn_logit_softcapping: softcap === undefined ? softcap : ['f32', softcap],
    final_logit_softcapping: logitSoftcap === undefined ? logitSoftcap : ['f32', logitSoftcap],
    'attention.sliding_window': window && ['u32', window.size],
    'attention.clamp_kqv': clip === undefined ? clip : ['f32', clip],
    use_parallel_residual: ['bool', parallel === 'two norms'],
  }
  for (const key of keys) if (own[key]) values[key] = own[key]
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${id}.${key}`, value]))
}

/** llama.cpp's word for a model that takes token ids only. */
const noTokenizer = { 'tokenizer.ggml.model': ['string', 'none'] } as const satisfies Record<
  string,
  GgufValue
>

function typeOf(shape: readonly number[], wanted: GgufWeights): GgufWeights {
  if (shape.length < 2) return 'f32'
  if (wanted === 'f32' || wanted === 'f16') return wanted
  return shape.at(-1)! % ggmlBlocks[wanted][0] === 0 ? wanted : 'f16'
}

/** The largest f16, and what still rounds to it. */
const f16Limit = 65520

/** Weights in f32. */
function floats(entry: TensorEntry, type: GgufWeights): Float32Array {
  const values = readFloats(entry)
  // The quantisers check their scales themselves; a conversion to f16 would give infinity.
  const large = type === 'f16' ? values.find((value) => Math.abs(value) >= f16Limit) : undefined
  if (large !== undefined)
    throw new Error(`${entry.file}: '${entry.name}' holds ${large}, too large for f16: convert to f32`)
  return values
}
