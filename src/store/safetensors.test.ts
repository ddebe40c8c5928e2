import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { shared } from '../../test/shared.ts'
import { blocks, type Checkpoint, plainTypes, readBytes, readFloats } from './checkpoint.ts'
import { openSafetensors, writeSafetensors } from './safetensors.ts'
import { openShards } from './shards.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'x.safetensors')

/** A file with this header and `data` bytes behind it. */
function file(header: string | Uint8Array, data = 0, length = Buffer.byteLength(header)): string {
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(length))
  writeFileSync(path, Buffer.concat([prefix, Buffer.from(header as string), Buffer.alloc(data)]))
  return path
}

describe('openSafetensors', () => {
  test("reads the reference implementation's file (test/fixtures/store/make.py)", () => {
    const fixture = fileURLToPath(new URL('../../test/fixtures/store/plain.safetensors', import.meta.url))
    const { format, tensors, metadata } = openSafetensors(fixture)
    expect(format).toBe('safetensors')
    expect(metadata).toEqual({ format: 'pt', note: 'ü' })
    for (const type of plainTypes) {
      const entry = tensors.get(type.toUpperCase())!
      expect(entry).toMatchObject({ type, shape: [2, 3], file: fixture, bytes: 6 * blocks[type][1] })
      expect([...readBytes(entry)]).toEqual(Array.from({ length: entry.bytes }, (_, i) => i))
    }
    expect(readFloats(tensors.get('scalar')!)).toEqual(Float32Array.of(1.5))
    expect(readFloats(tensors.get('empty')!)).toEqual(new Float32Array())
    expect([...readBytes(tensors.get('é "\\\n')!)]).toEqual([1])
    expect(() => readFloats(tensors.get('F8_E4M3')!)).toThrow('"F8_E4M3" is f8_e4m3, which')
    expect(tensors.size).toBe(plainTypes.length + 3)
  })

  test.skipIf(!shared('assets/models/silero-vad'))('reads a published model', () => {
    const { tensors } = openSafetensors(shared('assets/models/silero-vad/silero_vad_16k.safetensors')!)
    let parameters = 0
    for (const entry of tensors.values()) parameters += readFloats(entry).length
    expect(parameters).toBe(309_633)
  })

  const u8 = (name: string, begin: number, end: number, more = '') =>
    `"${name}":{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]${more}}`

  test.each<[reason: string, header: string, data: number, offset: number]>([
    ['overlaps what is before it', `{${u8('b', 0, 4)},${u8('a', 2, 6)}}`, 6, 8 + 105 + 2],
    ['leaves a hole before it', `{${u8('b', 0, 2)},${u8('a', 3, 6)}}`, 6, 8 + 105 + 3],
    ['leaves a hole before it', `{${u8('a', 1, 2)}}`, 2, 8 + 53 + 1],
    ['ends before tensor "a" does, at byte 70', `{${u8('a', 0, 9)}}`, 3, 8 + 53 + 3],
    ['2 bytes follow the last tensor', `{${u8('a', 0, 1)}}`, 3, 8 + 53 + 1],
    ['key "a" appears twice', `{${u8('a', 0, 1)},${u8('a', 1, 2)}}`, 2, 8 + 53],
    ['key "dtype" appears twice', `{${u8('a', 0, 1, ',"dtype":"F32"')}}`, 1, 8 + 53 - 1],
    ['dtype "C64" is not supported', '{"a":{"dtype":"C64","shape":[],"data_offsets":[0,8]}}', 8, 14],
    ['unknown field "strides"', `{${u8('a', 0, 1, ',"strides":[1]')}}`, 1, 8 + 53 - 1],
    ['data_offsets is missing', '{"a":{"dtype":"U8","shape":[]}}', 1, 9],
    ['do not span the 4 bytes of f32 []', '{"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}}', 4, 9],
    ['do not span the 1 bytes of u8 []', '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1,1]}}', 1, 9],
    ['is too large', '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', 0, 9],
    ['has 65 dimensions', `{"a":{"dtype":"U8","shape":[${Array(65).fill(1)}],"data_offsets":[0,1]}}`, 1, 9],
    ['a whole number from 0 to 2^53 - 1, found "-1"', '{"a":{"dtype":"U8","shape":[-1]}}', 0, 36],
    ['a whole number from 0 to 2^53 - 1, found "1.5"', '{"a":{"dtype":"U8","shape":[1.5]}}', 0, 36],
    [
      'a whole number from 0 to 2^53 - 1, found "9007199254740992"',
      '{"a":{"shape":[9007199254740992]}}',
      0,
      23,
    ],
    ['wanted ", found 1', '{"__metadata__":{"x":1}}', 0, 29],
    ['wanted {, found [', `{"a":${'['.repeat(1e5)}`, 0, 13],
    ['wanted the end of the JSON, found x', '{}x', 0, 10],
    ['wanted }, found the end', '{"__metadata__":{}', 0, 26],
    ['wanted the end of the string, found byte 0x0a', '{"a\n":1}', 0, 11],
    ['an escape that JSON does not know', '{"\\x":1}', 0, 9],
    ['does not begin with {', ' {}', 0, 8],
  ])('%s', (reason, header, data, offset) => {
    const error = { name: 'FileError', file: path, offset, reason: expect.stringContaining(reason) }
    const open = () => openSafetensors(file(header, data))
    expect(open).toThrow(expect.objectContaining(error))
    expect(open).toThrow(`${path}: at byte ${offset}: `)
  })

  test('invalid UTF-8, a short file, an enormous header', () => {
    expect(() => openSafetensors(file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22)))).toThrow('UTF-8')
    expect(() => openSafetensors(file('{}', 0, 3))).toThrow(
      'at byte 8: needs 3 bytes here, but the file ends at 10',
    )
    expect(() => openSafetensors(file('{}', 0, 2 ** 40))).toThrow('over the limit')
    writeFileSync(path, 'abc')
    expect(() => openSafetensors(path)).toThrow('needs 8 bytes')
  })

  test('names from Object.prototype are ordinary names', () => {
    const { tensors, metadata } = openSafetensors(
      file(`{"__metadata__":{"__proto__":"x"},${u8('__proto__', 0, 1)},${u8('constructor', 1, 2)}}`, 2),
    )
    expect(Object.keys(metadata)).toEqual(['__proto__'])
    expect([...tensors.keys()]).toEqual(['__proto__', 'constructor'])
  })

  test('white space behind the header is padding', () => {
    expect(openSafetensors(file('{}  \n ')).tensors.size).toBe(0)
  })

  test('data that is cut off after opening', () => {
    const entry = openSafetensors(file(`{${u8('a', 0, 9)}}`, 9)).tensors.get('a')!
    writeFileSync(path, readFileSync(path).subarray(0, 65))
    expect(() => readBytes(entry)).toThrow(`${path}: at byte 65: the file was cut short`)
  })
})

describe('writeSafetensors', () => {
  const tensors = [
    { name: 'bytes', dtype: 'u8', shape: [3], data: Uint8Array.of(1, 2, 3) },
    { name: '7', dtype: 'f16', shape: [2], data: Uint16Array.of(0x3c00, 0x4000) },
    { name: 'f32', dtype: 'f32', shape: [2, 1], data: () => Float32Array.of(1, -2) },
    { name: 'f64', dtype: 'f64', shape: [], data: Float64Array.of(0.1) },
    { name: 'bf16', dtype: 'bf16', shape: [1], data: Uint16Array.of(0x3f80) },
    { name: '__proto__', dtype: 'bool', shape: [0, 9], data: new Uint8Array() },
  ] as const

  test('what is written is read, wide elements first, all aligned; written again, it is the same', () => {
    writeSafetensors(path, tensors, { note: 'a' })
    const checkpoint: Checkpoint = openSafetensors(path)
    expect(checkpoint.metadata).toEqual({ format: 'pt', note: 'a' })
    expect([...checkpoint.tensors.keys()]).toEqual(['f64', 'f32', '7', 'bf16', 'bytes', '__proto__'])
    const get = (name: string) => checkpoint.tensors.get(name)!
    expect([...readFloats(get('f32'))]).toEqual([1, -2])
    expect([...readFloats(get('7'))]).toEqual([1, 2])
    expect([...readFloats(get('bf16'))]).toEqual([1])
    expect([...readFloats(get('f64'))]).toEqual([Math.fround(0.1)])
    expect([...readBytes(get('bytes'))]).toEqual([1, 2, 3])
    for (const { offset, type } of checkpoint.tensors.values()) expect(offset % blocks[type][1]).toBe(0)
    expect(get('f64').offset % 8).toBe(0)

    const before = readFileSync(path)
    const again = [...checkpoint.tensors.values()].map(({ name, type, shape }) => ({
      name,
      dtype: type as 'f32',
      shape,
      data: () => readBytes(get(name)),
    }))
    writeSafetensors(path, again, { note: 'a' }) // reads the file that it is about to replace
    expect(readFileSync(path)).toEqual(before)
  })

  test('a failed write leaves the old file and no other', () => {
    writeSafetensors(path, tensors)
    const before = readFileSync(path)
    const entries = readdirSync(folder)
    const last = (data: () => Uint8Array) => [
      ...tensors,
      { name: 'z', dtype: 'u8', shape: [2], data } as const,
    ]
    const broken = () => {
      throw new Error('interrupted')
    }
    expect(() => writeSafetensors(path, last(broken))).toThrow('interrupted')
    const long = last(() => new Uint8Array(3))
    expect(() => writeSafetensors(path, long)).toThrow('tensor "z" has 3 bytes; u8 [2] takes 2')
    expect(() => writeSafetensors(path, [tensors[0], tensors[0]])).toThrow('given twice')
    expect(() => writeSafetensors(path, [{ ...tensors[0], shape: [-3] }])).toThrow('size -3')
    const reserved = { ...tensors[0], name: '__metadata__' }
    expect(() => writeSafetensors(path, [reserved])).toThrow('no tensor can have the name')
    expect(readdirSync(folder)).toEqual(entries)
    expect(readFileSync(path)).toEqual(before)
    expect(() => writeSafetensors(join(folder, 'missing', 'x'), [])).toThrow('no such file')
  })
})

describe('openShards', () => {
  const index = join(folder, 'model.safetensors.index.json')
  const write = (map: unknown) => writeFileSync(index, typeof map === 'string' ? map : JSON.stringify(map))
  const byte = (name: string) => ({ name, dtype: 'u8', shape: [1], data: Uint8Array.of(1) }) as const
  writeSafetensors(join(folder, 'one.safetensors'), [byte('a'), byte('b')])
  writeSafetensors(join(folder, 'two.safetensors'), [byte('c')])

  test('gathers the tensors that the index names', () => {
    write({
      metadata: { total_size: 2, more: [null, { a: 1.5 }] },
      weight_map: { c: 'two.safetensors', a: 'one.safetensors' },
    })
    const { tensors, metadata, format } = openShards(index)
    expect([format, metadata]).toEqual(['safetensors', { total_size: 2, more: [null, { a: 1.5 }] }])
    expect([...tensors.values()].map(({ name, file }) => [name, file])).toEqual([
      ['c', join(folder, 'two.safetensors')],
      ['a', join(folder, 'one.safetensors')],
    ])
  })

  test.each([
    '../one.safetensors',
    '/etc/x.safetensors',
    'a/b.safetensors',
    'a\\b.safetensors',
    'pytorch_model.bin',
  ])('refuses the file name %s', (name) => {
    write({ weight_map: { a: name } })
    expect(() => openShards(index)).toThrow(`${index}: at byte 15: tensor "a" is said to be in`)
  })

  test.each([
    ['"c" is not in "one.safetensors"', '{"weight_map":{"c":"one.safetensors"}}'],
    ['weight_map is missing', '{}'],
    ['key "a" appears twice', '{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}'],
    ['JSON deeper than 64 levels', `{"metadata":{"a":${'['.repeat(1e5)}`],
    ['unknown value "nul"', '{"x":nul}'],
    ['expected a value, found ?', '{"x":?}'],
  ])('%s', (reason, json) => {
    write(json)
    expect(() => openShards(index)).toThrow(reason)
  })

  test('a missing shard is named', () => {
    write({ weight_map: { a: 'gone.safetensors' } })
    expect(() => openShards(index)).toThrow(`${join(folder, 'gone.safetensors')}: at byte 0: no such file`)
  })
})
