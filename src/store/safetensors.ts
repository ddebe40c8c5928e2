/** safetensors files: opening, and writing whole or not at all. The format is in `safetensorsHeader.ts`. */
import { align, blocks, type Checkpoint, type PlainType } from './checkpoint.ts'
import { SourceFile } from './file.ts'
import { readSafetensors } from './safetensorsHeader.ts'
import { FileError } from './source.ts'
import { type TensorSource, writeTensors } from './write.ts'

/** Opens one file. FileError for anything that the format does not allow; no data is read. */
export function openSafetensors(path: string): Checkpoint {
  using file = new SourceFile(path)
  return readSafetensors(file)
}

export interface SafetensorsSource extends Omit<TensorSource, 'type'> {
  readonly dtype: PlainType
}

/**
 * Writes a file atomically, `__metadata__.format` being 'pt' unless `metadata` says otherwise. Tensors keep
 * their order, except that wider elements come first, so that each is aligned; data begins at a multiple of
 * 8. To hold no more than one tensor in memory, give `data` as functions. FileError if a name comes twice or
 * data does not fit its shape; then, as after any error, an existing file is left as it was.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<SafetensorsSource>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const sorted = [...tensors].sort((a, b) => blocks[b.dtype][1] - blocks[a.dtype][1])
  const sources = sorted.map(({ dtype, ...source }) => ({ ...source, type: dtype }))
  writeTensors(path, sources, 1, (placed) => {
    const members = [`"__metadata__":${JSON.stringify({ format: 'pt', ...metadata })}`]
    for (const { name, type, shape, offset, bytes } of placed) {
      if (name === '__metadata__') throw new FileError(path, 0, 'no tensor can have the name "__metadata__"')
      const entry = { dtype: type.toUpperCase(), shape, data_offsets: [offset, offset + bytes] }
      members.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`)
    }
    const json = Buffer.from(`{${members.join(',')}}`)
    const header = Buffer.alloc(8 + align(json.length, 8), ' ')
    header.writeBigUInt64LE(BigInt(header.length - 8))
    header.set(json, 8)
    return header
  })
}
