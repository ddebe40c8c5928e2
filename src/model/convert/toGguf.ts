/** A Llama in Hugging Face layout as a GGUF file, as llama.cpp's `convert_hf_to_gguf.py` writes it. */
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
import { llamaGguf } from '../families/llama-gguf.ts'
import { load } from '../load.ts'
import { type DecoderSpec, partOf } from '../spec.ts'
import { counterparts } from './counterparts.ts'
import { reorderRows } from './rotary.ts'
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
  if (checkpoint.format !== 'safetensors' || model.family !== 'llama')
    throw new Error(
      `${folder}: only Llama models in Hugging Face layout become GGUF; this is ${model.family} in ${checkpoint.format}`,
    )
  const { spec, names } = model
  const metadata: Record<string, GgufValue> = {
    'general.architecture': ['string', 'llama'],
    'general.type': ['string', 'model'],
    'general.name': ['string', basename(resolve(folder))],
    'general.file_type': ['u32', fileTypes[type]],
    'general.quantization_version': ['u32', 2],
    ...hyperparameters(spec),
    ...(model.tokenizer ? tokenizerToGguf(model.tokenizer, folder, spec.vocab) : noTokenizer),
  }
  const plain = Object.fromEntries(Object.entries(metadata).map(([key, [, value]]) => [key, value]))
  const target = llamaGguf.describe(plain, (name) => name === 'output.weight' && names.head !== undefined)

  const kept: string[] = []
  const { headSize } = partOf(spec, 'attention')
  const tensors = counterparts({ spec, names }, target, "GGUF's llama").map(
    ({ from, to, heads }): TensorSource => {
      const entry = checkpoint.tensors.get(from)!
      const own = typeOf(entry.shape, type)
      if (own !== type && entry.shape.length > 1) kept.push(`${to} in ${own}`)
      const data = (): Float32Array => floats(entry, heads, headSize, own)
      return { name: to, type: own, shape: entry.shape, data }
    },
  )
  writeGguf(output, metadata, tensors)
  return { files: [{ path: output, bytes: statSync(output).size }], tensors: tensors.length, kept }
}

function hyperparameters(spec: DecoderSpec) {
  const { width, layers, context, vocab, norm, position } = spec
  const { heads, keyValueHeads, headSize } = partOf(spec, 'attention')
  const metadata: Record<string, GgufValue> = {
    'llama.block_count': ['u32', layers],
    'llama.context_length': ['u32', context],
    'llama.embedding_length': ['u32', width],
    'llama.feed_forward_length': ['u32', partOf(spec, 'ffn').hidden],
    'llama.attention.head_count': ['u32', heads],
    'llama.attention.head_count_kv': ['u32', keyValueHeads],
    'llama.attention.layer_norm_rms_epsilon': ['f32', norm.epsilon],
    'llama.rope.dimension_count': ['u32', headSize],
    'llama.vocab_size': ['u32', vocab],
  }
  if (position.kind === 'rotary') metadata['llama.rope.freq_base'] = ['f32', position.base]
  if (headSize * heads !== width) {
    metadata['llama.attention.key_length'] = ['u32', headSize]
    metadata['llama.attention.value_length'] = ['u32', headSize]
  }
  return metadata
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

/** Weights in f32, in GGUF's order of rows. */
function floats(
  entry: TensorEntry,
  heads: number | undefined,
  headSize: number,
  type: GgufWeights,
): Float32Array {
  const values = readFloats(entry)
  // The quantisers check their scales themselves; a conversion to f16 would give infinity.
  const large = type === 'f16' ? values.find((value) => Math.abs(value) >= f16Limit) : undefined
  if (large !== undefined)
    throw new Error(`${entry.file}: '${entry.name}' holds ${large}, too large for f16: convert to f32`)
  if (heads === undefined) return values
  const rows = reorderRows(new Uint8Array(values.buffer), heads, headSize, 'neighbours')
  return new Float32Array(rows.buffer)
}
