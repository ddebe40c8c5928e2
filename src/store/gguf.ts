/**
 * GGUF: header (`ggufHeader.ts`), then the tensors, each at the next multiple of `general.alignment` (default
 * 32).
 *
 * Shapes are row-major here, outermost first, the reverse of the file's. Of models whose
 * `general.architecture` is `llama`, the rows of attn_q and attn_k are in Meta's order, neighbouring rows
 * being a rotary pair: llama.cpp's converter permutes Hugging Face's rows into it, and takes those of
 * llama2.c as they are. Families with rotary halves (qwen2, gemma, phi ...) are not permuted.
 */
import { align, type Checkpoint, checkTiling, type TensorEntry, tensorBytes } from './checkpoint.ts'
import { SourceFile } from './file.ts'
import { readGgufHeader } from './ggufHeader.ts'
import type { GgufValue } from './ggufTypes.ts'
import { FileError, quote } from './source.ts'

const defaultAlignment = 32

/** Opens one file. FileError for anything that the format does not allow; no data is read. */
export function openGguf(path: string): Checkpoint {
  using file = new SourceFile(path)
  const header = readGgufHeader(file)
  const alignment = alignmentOf(path, header.metadata.get('general.alignment'))
  const parts = header.metadata.get('split.count')?.[1]
  if (typeof parts === 'number' && parts > 1)
    throw file.error(
      0,
      `is one of ${parts} parts of a model`,
      'Join them with `llama-gguf-split --merge FIRST OUT`',
    )

  const start = align(header.end, alignment)
  const tensors = new Map<string, TensorEntry>()
  for (const { name, type, shape, offset, at } of header.tensors) {
    const bytes = tensorBytes(type, shape, (reason) => file.error(at, `tensor ${quote(name)}: ${reason}`))
    tensors.set(name, { name, type, shape, file: path, source: file, offset: start + offset, bytes })
  }
  checkTiling(file, tensors.values(), header.end, alignment)
  const metadata: Record<string, unknown> = Object.create(null)
  for (const [key, [, value]] of header.metadata) metadata[key] = value
  return { path, format: 'gguf', tensors, metadata }
}

/** The metadata of a file with its types, fit for `writeGguf`. */
export function readGgufMetadata(path: string): Record<string, GgufValue> {
  using file = new SourceFile(path)
  const metadata: Record<string, GgufValue> = Object.create(null)
  for (const [key, value] of readGgufHeader(file).metadata) metadata[key] = value
  return metadata
}

/** The alignment that a `general.alignment` of this value asks for, in bytes. */
export function alignmentOf(path: string, value: GgufValue = ['u32', defaultAlignment]): number {
  const [type, alignment] = value
  if (type !== 'u32' || alignment === 0 || alignment & (alignment - 1))
    throw new FileError(path, 0, `general.alignment is ${type} ${alignment}, not a power of two in u32`)
  return alignment
}
