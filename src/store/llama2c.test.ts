import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { shared } from '../../test/shared.ts'
import { FileError, readBytes, readFloats } from './checkpoint.ts'
import { openLlama2c } from './llama2c.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-llama2c-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'x.bin')

// dim 4, hidden 6, 2 layers, 2 heads, 1 key head, vocabulary 3, 5 positions: head size 2, keys 2.
// A layer: 4 + 4 norms, wq 16, wk 8, wv 8, wo 16, w1 w2 w3 24 each: 128. Embedding 12, norm 4.
const fields = [4, 6, 2, 2, 1, 3, 5]

/** A v0 file whose floats count up from 0; with `count` of them. */
function legacy(count: number, vocabulary = 3): string {
  const header = Int32Array.from(fields.with(5, vocabulary))
  writeFileSync(
    path,
    Buffer.concat(
      [header, Float32Array.from({ length: count }, (_, i) => i)].map((a) => Buffer.from(a.buffer)),
    ),
  )
  return path
}

function versioned(count: number, flag: number, version = 1): string {
  const header = Buffer.alloc(256)
  for (const [i, value] of [0x616b3432, version, ...fields].entries()) header.writeInt32LE(value, 4 * i)
  header[36] = flag
  const floats = Float32Array.from({ length: count }, (_, i) => i)
  writeFileSync(path, Buffer.concat([header, Buffer.from(floats.buffer)]))
  return path
}

describe('openLlama2c', () => {
  test('v0: embedding, norms and matrices by kind, tables of 2 * 5 * 1, no classifier', () => {
    const { tensors, metadata, format } = openLlama2c(legacy(12 + 2 * 128 + 4 + 10))
    expect(format).toBe('llama2c')
    expect(metadata).toEqual({
      version: 0,
      dim: 4,
      hidden_dim: 6,
      n_layers: 2,
      n_heads: 2,
      n_kv_heads: 1,
      vocab_size: 3,
      seq_len: 5,
      shared_classifier: true,
    })
    const first = (name: string) => readFloats(tensors.get(name)!)[0]
    expect(tensors.size).toBe(2 + 2 * 9)
    expect(first('tok_embeddings.weight')).toBe(0)
    expect(first('layers.0.attention_norm.weight')).toBe(12)
    expect(first('layers.1.attention.wk.weight')).toBe(12 + 8 + 32 + 8)
    expect(tensors.get('layers.1.attention.wk.weight')!.shape).toEqual([2, 4])
    expect(first('layers.1.feed_forward.w2.weight')).toBe(12 + 8 + 96 + 8 + 48 + 24)
    expect(tensors.get('layers.1.feed_forward.w2.weight')!.shape).toEqual([4, 6])
    expect(first('norm.weight')).toBe(12 + 256)
  })

  test('v0 with a negative vocabulary has its own classifier, behind the tables', () => {
    const { tensors, metadata } = openLlama2c(legacy(12 + 2 * 128 + 4 + 10 + 12, -3))
    expect(metadata).toMatchObject({ vocab_size: 3, shared_classifier: false })
    expect(readFloats(tensors.get('output.weight')!)[0]).toBe(12 + 256 + 4 + 10)
  })

  test('v1: norms first, no tables', () => {
    const { tensors, metadata } = openLlama2c(versioned(8 + 8 + 4 + 12 + 240 + 12, 0))
    expect(metadata).toMatchObject({ version: 1, shared_classifier: false })
    expect(readFloats(tensors.get('layers.1.ffn_norm.weight')!)).toEqual(Float32Array.of(12, 13, 14, 15))
    expect(readFloats(tensors.get('tok_embeddings.weight')!)[0]).toBe(20)
    expect(readFloats(tensors.get('layers.0.attention.wq.weight')!)[0]).toBe(32)
    expect(readFloats(tensors.get('output.weight')!)[0]).toBe(272)
  })

  test.each<[reason: string, offset: number, make: () => void]>([
    ['asks for 1156 bytes, the file has 1160', 0, () => legacy(283)],
    ['asks for 1344 bytes, the file has 1340', 0, () => versioned(271, 1)],
    ['version 2 is not supported', 4, () => versioned(272, 1, 2)],
    ['the flag for a shared classifier is 7', 36, () => versioned(272, 7)],
    ['vocab_size would be 0', 20, () => legacy(282, 0)],
    ['dim would be -1', 0, () => writeFileSync(path, Buffer.alloc(28, 255))],
    ['do not fit', 0, () => writeFileSync(path, Int32Array.of(6, 1, 1, 2, 2, 1, 1))],
    ['asks for', 0, () => writeFileSync(path, Int32Array.of(2 ** 30, 2 ** 30, 2 ** 30, 1, 1, 2 ** 30, 1))],
    ['needs 28 bytes here, but the file ends at 20', 0, () => writeFileSync(path, Buffer.alloc(20, 1))],
    ['needs 4 bytes here, but the file ends at 0', 0, () => writeFileSync(path, '')],
  ])('refuses: %s', (reason, offset, make) => {
    make()
    let error: unknown
    try {
      openLlama2c(path)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(FileError)
    expect((error as FileError).reason).toContain(reason)
    expect(error).toMatchObject({ file: path, offset })
  })

  test.skipIf(!shared('assets/models/stories260K'))('stories260K: v0 and v1 hold the same weights', () => {
    const open = (name: string) => openLlama2c(shared(`assets/models/stories260K/${name}`)!)
    const [v0, v1] = [open('checkpoint_legacy.bin'), open('checkpoint_v1.bin')]
    expect(v0.metadata).toEqual({ ...v1.metadata, version: 0 })
    expect(v0.metadata).toMatchObject({
      dim: 64,
      hidden_dim: 172,
      n_layers: 5,
      n_heads: 8,
      n_kv_heads: 4,
      vocab_size: 512,
    })
    expect([...v0.tensors.keys()].sort()).toEqual([...v1.tensors.keys()].sort())
    let bytes = 256
    for (const [name, entry] of v0.tensors) {
      expect(Buffer.compare(readBytes(entry), readBytes(v1.tensors.get(name)!))).toBe(0)
      bytes += entry.bytes
    }
    expect(bytes).toBe(statSync(v1.path).size)
  })
})
