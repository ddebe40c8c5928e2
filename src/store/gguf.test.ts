import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { GGMLQuantizationType } from '@huggingface/gguf'
import { afterAll, describe, expect, test } from 'vitest'
import { shared } from '../../test/shared.ts'
import { FileError, readBytes, readFloats } from './checkpoint.ts'
import { openGguf, readGgufMetadata } from './gguf.ts'
import { ggmlNames } from './ggufTypes.ts'
import { writeGguf } from './ggufWrite.ts'
import { openLlama2c } from './llama2c.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-gguf-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'x.gguf')
const fixture = fileURLToPath(new URL('../../test/fixtures/store/ggml.gguf', import.meta.url))

test('type numbers are those of the @huggingface/gguf package', () => {
  for (const [id, name] of ggmlNames.entries())
    if (name !== '-') expect(GGMLQuantizationType[id] ?? name).toBe(name)
})

describe("the gguf package's file (test/fixtures/store/make.py)", () => {
  const { format, tensors, metadata } = openGguf(fixture)

  test('metadata of every type', () => {
    expect(format).toBe('gguf')
    expect(metadata).toMatchObject({
      'general.architecture': 'test',
      'general.alignment': 64,
      'test.uint8': 200,
      'test.int8': -100,
      'test.uint16': 60000,
      'test.int16': -30000,
      'test.uint32': 4000000000,
      'test.int32': -2000000000,
      'test.float32': 0.5,
      'test.bool': true,
      'test.string': '\ufeffé😀',
      'test.uint64': 2n ** 64n - 1n,
      'test.int64': -(2n ** 53n) - 1n,
      'test.float64': 0.1,
      'test.strings': ['a', '', '\ufffd'],
      'test.floats': [0.5, 1.5],
    })
  })

  test('shapes are row-major, data lies where it is aligned', () => {
    expect(tensors.get('values')).toMatchObject({ type: 'f32', shape: [2, 512], bytes: 4096 })
    expect(tensors.get('q4_k')).toMatchObject({ type: 'q4_k', shape: [2, 512], bytes: 576 })
    for (const { offset } of tensors.values()) expect(offset % 64).toBe(0)
    expect(readFloats(tensors.get('values')!)[100]).toBe(60000)
    expect([...new BigInt64Array(readBytes(tensors.get('i64')!).buffer)]).toEqual([2n ** 60n, -1n])
    expect(() => readFloats(tensors.get('i64')!)).toThrow(
      'tensor "i64" is i64, which cannot be read as floats',
    )
  })

  test('copied with its metadata, it stays the same to the byte', () => {
    const copies = [...tensors.values()].map((entry) => ({ ...entry, data: () => readBytes(entry) }))
    writeGguf(path, readGgufMetadata(fixture), copies)
    expect(readFileSync(path).equals(readFileSync(fixture))).toBe(true)
  })
})

describe.skipIf(!shared('assets/models/stories260K'))('stories260K', () => {
  // Opened by the tests: the body of a skipped suite runs all the same.
  const open = () => openGguf(shared('assets/models/stories260K/stories260Ktok512.gguf')!)
  const names: Record<string, string> = {
    attn_q: 'attention.wq',
    attn_k: 'attention.wk',
    attn_v: 'attention.wv',
    attn_output: 'attention.wo',
    attn_norm: 'attention_norm',
    ffn_gate: 'feed_forward.w1',
    ffn_down: 'feed_forward.w2',
    ffn_up: 'feed_forward.w3',
  }
  const llama2cName = (name: string) =>
    name
      .replace('token_embd', 'tok_embeddings')
      .replace('output_norm', 'norm')
      .replace(/^output/, 'tok_embeddings') // the GGUF holds the shared classifier a second time
      .replace(/^blk\.(\d+)\.(\w+)/, (_, layer, part) => `layers.${layer}.${names[part] ?? part}`)

  test('metadata', () => {
    const model = open()
    expect(model.metadata).toMatchObject({ 'general.architecture': 'llama', 'llama.block_count': 5 })
    expect(model.metadata['tokenizer.ggml.tokens']).toHaveLength(512)
  })

  test.each(['checkpoint_legacy.bin', 'checkpoint_v1.bin'])(
    'equals %s tensor by tensor, q and k not permuted',
    (bin) => {
      const model = open()
      const other = openLlama2c(shared(`assets/models/stories260K/${bin}`)!)
      expect(new Set([...model.tensors.keys()].map(llama2cName))).toEqual(new Set(other.tensors.keys()))
      for (const entry of model.tensors.values()) {
        const twin = other.tensors.get(llama2cName(entry.name))!
        expect([entry.type, entry.shape]).toEqual([twin.type, twin.shape])
        expect(Buffer.compare(readBytes(entry), readBytes(twin))).toBe(0)
      }
    },
  )
})

describe('openGguf refuses', () => {
  const u32 = (n: number) => Buffer.from(Uint32Array.of(n).buffer)
  const u64 = (n: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer)
  const text = (s: string | Buffer) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)])
  const header = (tensors: number | bigint, pairs: number | bigint) => [
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors),
    u64(pairs),
  ]
  const tensor = (name: string, dims: (number | bigint)[], type: number, offset: number) => [
    text(name),
    u32(dims.length),
    ...dims.map(u64),
    u32(type),
    u64(offset),
  ]
  const zeros = (n: number) => Buffer.alloc(n)
  const split = [text('split.count'), u32(2), Buffer.of(3, 0)]

  test.each<[reason: string, offset: number, parts: Buffer[]]>([
    ['does not begin with GGUF', 0, [Buffer.from('GGML')]],
    ['needs 4 bytes here, but the file ends at 6', 4, [Buffer.from('GGUF\x03\0')]],
    ['GGUF version 1 is not 2 or 3', 4, [Buffer.from('GGUF'), u32(1)]],
    ['big-endian', 4, [Buffer.from('GGUF\0\0\0\x03')]],
    ['the number 18446744073709552000 is too large', 8, header(2n ** 64n - 1n, 0)],
    ['1000000000000 tensors cannot be in the 8 bytes', 8, header(1e12, 0)],
    ['2 metadata pairs cannot be in the 25 bytes', 16, [...header(0, 2), zeros(25)]],
    ['100 bytes of text cannot be in the 12 bytes', 24, [...header(0, 1), u64(100), zeros(12)]],
    ['a string is not valid UTF-8', 24, [...header(0, 1), text(Buffer.of(0xff)), zeros(20)]],
    [
      'key "k" appears twice',
      38,
      [...header(0, 2), text('k'), u32(0), zeros(1), text('k'), u32(0), zeros(1)],
    ],
    ['unknown type 13 of a metadata value', 33, [...header(0, 1), text('k'), u32(13), zeros(8)]],
    ['a bool is 2, not 0 or 1', 37, [...header(0, 1), text('k'), u32(7), Buffer.of(2)]],
    ['arrays of arrays', 37, [...header(0, 1), text('k'), u32(9), u32(9), u64(0)]],
    [
      '1000 array elements cannot be',
      41,
      [...header(0, 1), text('k'), u32(9), u32(8), u64(1000), zeros(7999)],
    ],
    [
      'tensor "t" has 5 dimensions, more than 4',
      24,
      [...header(1, 0), ...tensor('t', [1, 1, 1, 1, 1], 0, 0)],
    ],
    [
      'tensor "t" has the type IQ2_XXS, which is',
      24,
      [...header(1, 0), ...tensor('t', [256], 16, 0), zeros(200)],
    ],
    ['tensor "t" has the type 99, which is', 24, [...header(1, 0), ...tensor('t', [256], 99, 0)]],
    [
      'tensor "t" appears twice',
      57,
      [...header(2, 0), ...tensor('t', [1], 0, 0), ...tensor('t', [1], 0, 32), zeros(60)],
    ],
    [
      'rows of 16 are not whole blocks of 32',
      24,
      [...header(1, 0), ...tensor('t', [16, 2], 8, 0), zeros(99)],
    ],
    ['is too large', 24, [...header(1, 0), ...tensor('t', [2 ** 40, 2 ** 40], 0, 0), zeros(99)]],
    ['leaves a hole', 96, [...header(1, 0), ...tensor('t', [1], 0, 32), zeros(99)]],
    ['leaves a hole', 65, [...header(1, 0), ...tensor('t', [1], 0, 1), zeros(99)]],
    [
      'ends before tensor "t" does, at byte 4164',
      156,
      [...header(1, 0), ...tensor('t', [1025], 0, 0), zeros(99)],
    ],
    ['88 bytes follow the last tensor', 68, [...header(1, 0), ...tensor('t', [1], 0, 0), zeros(99)]],
    ['is one of 3 parts of a model', 0, [...header(0, 1), ...split]],
  ])('%s', (reason, offset, parts) => {
    writeFileSync(path, Buffer.concat(parts))
    const error = { name: 'FileError', file: path, offset, reason: expect.stringContaining(reason) }
    expect(() => openGguf(path)).toThrow(expect.objectContaining(error))
  })

  test('every truncation of a file', () => {
    const bytes = readFileSync(fixture)
    const { tensors } = openGguf(fixture)
    const last = [...tensors.values()].at(-1)!
    for (let length = 0; length < bytes.length; length += length < 2000 ? 13 : 1999) {
      writeFileSync(path, bytes.subarray(0, length))
      expect(() => openGguf(path)).toThrow(FileError)
    }
    writeFileSync(path, bytes.subarray(0, last.offset + last.bytes)) // only padding is gone
    expect(openGguf(path).tensors.size).toBe(tensors.size)
  })
})
