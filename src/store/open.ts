/** Opening a checkpoint of any format. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Checkpoint } from './checkpoint.ts'
import { isDangling, SourceFile, stat } from './file.ts'
import { openGguf } from './gguf.ts'
import { llama2cMagic, openLlama2c } from './llama2c.ts'
import { openSafetensors } from './safetensors.ts'
import { openShards } from './shards.ts'
import { FileError } from './source.ts'

/**
 * Opens a .safetensors file, a safetensors index, a .gguf file or a llama2.c .bin, whichever the content says
 * it is, or a folder with model.safetensors or its index. FileError, with the way out where there is one,
 * otherwise.
 */
export function openCheckpoint(path: string): Checkpoint {
  if (stat(path).isDirectory()) return openFolder(path)
  if (path.endsWith('.index.json')) return openShards(path)
  const start = firstBytes(path)
  // A safetensors header is below 2^32 bytes long and begins with {.
  const safetensors = start.readUInt32LE(4) === 0 && start[8] === 0x7b
  if (safetensors || path.endsWith('.safetensors')) return openSafetensors(path)
  if (start.toString('latin1', 0, 4) === 'GGUF') return openGguf(path)
  if (start.readUInt32LE(0) === llama2cMagic) return openLlama2c(path)
  if (isPickle(start)) throw pickled(path)
  if (path.endsWith('.gguf')) return openGguf(path)
  if (path.endsWith('.bin')) return openLlama2c(path)
  throw new FileError(
    path,
    0,
    'is not a checkpoint',
    'Known: .safetensors, .safetensors.index.json, .gguf, llama2.c .bin',
  )
}

function openFolder(path: string): Checkpoint {
  const file = join(path, 'model.safetensors')
  if (existsSync(file) || isDangling(file)) return openSafetensors(file)
  const index = `${file}.index.json`
  if (existsSync(index) || isDangling(index)) return openShards(index)
  for (const name of ['pytorch_model.bin', 'pytorch_model.bin.index.json'])
    if (existsSync(join(path, name))) throw pickled(join(path, name))
  throw new FileError(path, 0, 'the folder has neither model.safetensors nor model.safetensors.index.json')
}

/** The first 12 bytes, or zeros where there are none. */
function firstBytes(path: string): Buffer {
  using file = new SourceFile(path)
  const bytes = Buffer.alloc(12)
  bytes.set(file.read(0, Math.min(bytes.length, file.size)))
  return bytes
}

/** A zip archive, as `torch.save` writes it, or a bare pickle of protocol 2 to 5, as it once did. */
const isPickle = (start: Buffer): boolean =>
  start.toString('latin1', 0, 4) === 'PK\x03\x04' ||
  (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5 && start[2] !== 0)

function pickled(path: string): FileError {
  const folder = JSON.stringify(dirname(path))
  const load = `from transformers import AutoModelForCausalLM as M; M.from_pretrained(${folder})`
  return new FileError(
    path,
    0,
    'is a PyTorch pickle, which can run any code when it is loaded; glossa does not read it',
    `If you trust it, convert it: python -c '${load}.save_pretrained(${folder})'`,
  )
}
