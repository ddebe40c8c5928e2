/** What the writers share: a header, then tensor after tensor, in a file written whole or not at all. */
import { align, type StorageType, tensorBytes } from './checkpoint.ts'
import { writeAtomic } from './file.ts'
import { FileError, quote } from './source.ts'

export interface TensorSource {
  readonly name: string
  readonly type: StorageType
  /** Row-major, outermost first. */
  readonly shape: readonly number[]
  /** The tensor as it is stored, or what makes it when its turn comes; only one is held at a time. */
  readonly data: ArrayBufferView | (() => ArrayBufferView)
}

export interface PlacedTensor extends TensorSource {
  /** Of the first byte, from the end of the header. */
  readonly offset: number
  readonly bytes: number
}

/**
 * Writes `header(tensors)`, whose length is a multiple of `alignment`, then the tensors in the order given,
 * each padded with zeros to a multiple of `alignment`. FileError if a name comes twice, or data does not fit
 * its shape.
 */
export function writeTensors(
  path: string,
  sources: Iterable<TensorSource>,
  alignment: number,
  header: (tensors: readonly PlacedTensor[]) => Uint8Array,
): void {
  const tensors = new Map<string, PlacedTensor>()
  let end = 0
  for (const source of sources) {
    const error = (reason: string) => new FileError(path, 0, `tensor ${quote(source.name)}: ${reason}`)
    if (tensors.has(source.name)) throw error('the name is given twice')
    const bytes = tensorBytes(source.type, source.shape, error)
    tensors.set(source.name, { ...source, offset: end, bytes })
    end = align(end + bytes, alignment)
  }
  const head = header([...tensors.values()])
  writeAtomic(path, (put) => {
    put(head)
    for (const { name, type, shape, offset, bytes, data } of tensors.values()) {
      const view = typeof data === 'function' ? data() : data
      if (view.byteLength !== bytes)
        throw new FileError(
          path,
          head.length + offset,
          `tensor ${quote(name)} has ${view.byteLength} bytes; ${type} [${shape}] takes ${bytes}`,
        )
      put(view)
      put(new Uint8Array(align(bytes, alignment) - bytes))
    }
  })
}
