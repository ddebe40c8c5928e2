import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gguf } from '@huggingface/gguf'
import { afterAll, describe, expect, test } from 'vitest'
import { readBytes, readFloats } from './checkpoint.ts'
import { quantize } from './ggmlQuantize.ts'
import { openGguf, readGgufMetadata } from './gguf.ts'
import type { GgufValue } from './ggufTypes.ts'
import { writeGguf } from './ggufWrite.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-gguf-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'x.gguf')

describe('writeGguf', () => {
  const values = Float32Array.from({ length: 128 }, (_, i) => Math.sin(i))
  const metadata: Record<string, GgufValue> = {
    'general.architecture': ['string', 'test'],
    'test.count': ['u32', 3],
    'test.big': ['u64', 2n ** 60n],
    'test.epsilon': ['f32', 1e-5],
    'test.names': ['string[]', ['', 'é']],
    'test.flags': ['bool[]', [true, false]],
  }
  const types = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0'] as const
  const tensors = types.map((type) => ({ name: type, type, shape: [2, 64], data: () => values }))

  test('what is written is read, and the same by @huggingface/gguf', async () => {
    writeGguf(path, metadata, tensors)
    const checkpoint = openGguf(path)
    expect(readGgufMetadata(path)).toEqual({ ...metadata, 'test.epsilon': ['f32', Math.fround(1e-5)] })
    expect(readFloats(checkpoint.tensors.get('f32')!)).toEqual(values)
    expect(readBytes(checkpoint.tensors.get('q4_0')!)).toEqual(quantize('q4_0', values))
    for (const [type, tolerance] of [
      ['f16', 2 ** -12],
      ['bf16', 2 ** -9],
      ['q8_0', 0.5 / 127],
      ['q4_0', 0.13],
    ] as const) {
      const read = readFloats(checkpoint.tensors.get(type)!)
      for (const [i, value] of values.entries())
        expect(Math.abs(read[i]! - value)).toBeLessThanOrEqual(tolerance)
    }

    const peer = await gguf(path, { allowLocalFile: true })
    expect(peer.metadata).toMatchObject({ 'test.count': 3, 'test.big': 2n ** 60n, 'test.names': ['', 'é'] })
    expect(
      peer.tensorInfos.map(({ name, shape, offset }) => [name, shape, offset + peer.tensorDataOffset]),
    ).toEqual([...checkpoint.tensors.values()].map(({ name, offset }) => [name, [64n, 2n], BigInt(offset)]))
  })

  test('honours an alignment, writes no tensors, a scalar and an empty tensor', () => {
    writeGguf(path, { 'general.alignment': ['u32', 4096] }, [
      { name: 'scalar', type: 'f32', shape: [], data: Float32Array.of(1) },
      { name: 'empty', type: 'f16', shape: [0, 3], data: new Uint16Array() },
      { name: 'last', type: 'i8', shape: [1], data: Int8Array.of(-1) },
    ])
    expect([...openGguf(path).tensors.values()].map(({ offset }) => offset)).toEqual([4096, 8192, 8192])
    writeGguf(path, {}, [])
    expect(openGguf(path).tensors.size).toBe(0)
  })

  const one = { name: 'a', type: 'f32', shape: [1], data: Float32Array.of(1) } as const
  test.each<[reason: string, write: () => void]>([
    [
      'metadata "x" is not u8: The value of "value" is out of range',
      () => writeGguf(path, { x: ['u8', 256] }, []),
    ],
    ['metadata "x" is not i32: got number 1.5', () => writeGguf(path, { x: ['i32', 1.5] }, [])],
    ['metadata "x" is not u32[]', () => writeGguf(path, { x: ['u32[]', [-1]] }, [])],
    [
      'metadata "x" is not string: got number 1',
      () => writeGguf(path, { x: ['string', 1 as unknown as string] }, []),
    ],
    ['general.alignment is u32 12', () => writeGguf(path, { 'general.alignment': ['u32', 12] }, [])],
    ['the name is over 63 bytes', () => writeGguf(path, {}, [{ ...one, name: 'é'.repeat(32) }])],
    ['5 dimensions are more than 4', () => writeGguf(path, {}, [{ ...one, shape: [1, 1, 1, 1, 1] }])],
    ['floats cannot be written as q6_k', () => writeGguf(path, {}, [{ ...one, type: 'q6_k', shape: [256] }])],
    ['GGUF has no type u16', () => writeGguf(path, {}, [{ ...one, type: 'u16', data: new Uint16Array(1) }])],
    [
      'rows of 16 are not whole blocks of 32 q8_0',
      () => writeGguf(path, {}, [{ ...one, type: 'q8_0', shape: [2, 16] }]),
    ],
    [
      'are not finite',
      () =>
        writeGguf(path, {}, [{ ...one, type: 'q8_0', shape: [32], data: new Float32Array(32).fill(NaN) }]),
    ],
    ['"a" has 4 bytes; f32 [2] takes 8', () => writeGguf(path, {}, [{ ...one, shape: [2] }])],
  ])('refuses: %s', (reason, write) => {
    writeFileSync(path, 'old')
    expect(write).toThrow(
      expect.objectContaining({ name: 'FileError', reason: expect.stringContaining(reason) }),
    )
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['x.gguf'])
  })
})
