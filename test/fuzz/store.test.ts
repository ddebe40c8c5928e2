/**
 * Hostile files. Whatever the bytes, opening ends in a checkpoint whose tensors lie inside the file, or in a
 * FileError that names file, offset and reason: no other exception, no long wait, no large allocation.
 *
 * GLOSSA_FUZZ_RUNS multiplies the number of cases, which are then different in every run.
 */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test, vi } from 'vitest'
import {
  type Checkpoint,
  FileError,
  type GgmlType,
  type GgufValue,
  ggmlBlocks,
  openCheckpoint,
  openGguf,
  openLlama2c,
  openSafetensors,
  openShards,
  readBytes,
  readFloats,
  writeGguf,
  writeSafetensors,
} from '../../src/store/index.ts'

const multiplier = process.env.GLOSSA_FUZZ_RUNS
const runs = Number(multiplier ?? 1)
const parameters = { numRuns: 200 * runs, ...(multiplier === undefined ? { seed: 1 } : {}) }
vi.setConfig({ testTimeout: 60_000 * runs })

const folder = mkdtempSync(join(tmpdir(), 'glossa-fuzz-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Opens the file and reads everything in it; both ways to end well. */
function probe(path: string, bytes: Uint8Array, open: (path: string) => Checkpoint): 'opened' | 'refused' {
  writeFileSync(path, bytes)
  const began = performance.now()
  const memory = process.resourceUsage().maxRSS
  const outcome = attempt(path, open)
  expect(performance.now() - began, 'milliseconds').toBeLessThan(2000)
  expect((process.resourceUsage().maxRSS - memory) / 1024, 'MiB').toBeLessThan(128)
  return outcome
}

function attempt(path: string, open: (path: string) => Checkpoint): 'opened' | 'refused' {
  try {
    const { tensors } = open(path)
    for (const [name, entry] of tensors) {
      expect(entry.name).toBe(name)
      expect(entry.offset).toBeGreaterThanOrEqual(0)
      expect(entry.offset + entry.bytes).toBeLessThanOrEqual(statSync(entry.file).size)
      expect(readBytes(entry).length).toBe(entry.bytes)
      if (/^(f16|f32|bf16|.*q.*|mxfp4)$/.test(entry.type))
        expect(readFloats(entry).length).toBe(entry.shape.reduce((count, size) => count * size, 1))
    }
    return 'opened'
  } catch (error) {
    if (!(error instanceof FileError)) throw error
    const { file, offset, reason, message } = error
    expect(file.startsWith(folder)).toBe(true)
    expect(Number.isSafeInteger(offset) && offset >= 0).toBe(true)
    if (file === path) expect(offset).toBeLessThanOrEqual(statSync(path).size)
    expect(reason).not.toBe('')
    expect(message.startsWith(`${file}: at byte ${offset}: ${reason}`)).toBe(true)
    expect(message.length).toBeLessThan(1000)
    return 'refused'
  }
}

/** A place in the file: mostly in its first part, where the header is. */
const place = fc.oneof({ weight: 4, arbitrary: fc.nat(600) }, { weight: 1, arbitrary: fc.nat(20_000) })

const powers = [16n, 31n, 32n, 40n, 53n, 63n, 64n].map((power) => 2n ** power)
const hostileNumbers = [0n, 1n, 255n, ...powers.map((power) => power - 1n), ...powers.slice(0, -1)]
const hostileTexts = [...'"{[},-', '1e9', '9'.repeat(30), '__proto__', '\\u0000', '\xff', '[['.repeat(500)]

/** The lowest `width` bytes of a number, little-endian. */
const le = (value: bigint | number, width: number): Uint8Array =>
  new Uint8Array(BigUint64Array.of(BigInt(value)).buffer, 0, width)

type Mutation = (bytes: Buffer) => Buffer
const splice =
  (at: number, removed: number, inserted: Uint8Array): Mutation =>
  (bytes) =>
    Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)])

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  place.map(
    (length): Mutation =>
      (bytes) =>
        bytes.subarray(0, length),
  ),
  fc.tuple(place, fc.nat(7)).map(
    ([at, bit]): Mutation =>
      (bytes) => {
        if (at < bytes.length) bytes[at]! ^= 1 << bit
        return bytes
      },
  ),
  fc.tuple(place, fc.nat(12), fc.uint8Array({ maxLength: 12 })).map((edit) => splice(...edit)),
  fc.tuple(place, place, fc.nat(100)).map(
    ([from, to, length]): Mutation =>
      (bytes) =>
        splice(to, 0, bytes.subarray(from, from + length))(bytes),
  ),
  fc
    .tuple(place, fc.constantFrom(4, 8), fc.constantFrom(...hostileNumbers))
    .map(([at, width, number]) => splice(at, width, le(number, width))),
  fc
    .tuple(place, fc.nat(3), fc.constantFrom(...hostileTexts))
    .map(([at, removed, text]) => splice(at, removed, Buffer.from(text, 'latin1'))),
)
const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 })

const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.cos(i))

function sample(name: string, write: (path: string) => void): { path: string; bytes: Buffer } {
  const path = join(folder, name)
  write(path)
  return { path, bytes: readFileSync(path) }
}

const safetensors = sample('a.safetensors', (path) =>
  writeSafetensors(path, [
    { name: 'a', dtype: 'f32', shape: [3, 4], data: floats(12) },
    { name: 'b', dtype: 'f16', shape: [5], data: new Uint16Array(5) },
    { name: 'c', dtype: 'u8', shape: [], data: new Uint8Array(1) },
  ]),
)
const map = { a: 'b.safetensors', b: 'b.safetensors' }
const index = sample('model.safetensors.index.json', (path) =>
  writeFileSync(path, JSON.stringify({ metadata: { total_size: 9, x: [[{ y: null }]] }, weight_map: map })),
)
writeFileSync(join(folder, 'b.safetensors'), safetensors.bytes)
const metadata: Record<string, GgufValue> = {
  'general.architecture': ['string', 'llama'],
  'general.alignment': ['u32', 32],
  tokens: ['string[]', ['a', 'b', 'é']],
  scores: ['f32[]', [1, 2, 3]],
  flag: ['bool', true],
  big: ['u64', 2n ** 60n],
}
const gguf = sample('a.gguf', (path) => {
  const types = ['f32', 'f16', 'q4_0', 'q8_0'] as const
  const tensors = types.map((type) => ({ name: type, type, shape: [2, 32], data: floats(64) }))
  writeGguf(path, metadata, tensors)
})
const everyType = sample('types.gguf', (path) =>
  writeGguf(
    path,
    {},
    Object.entries(ggmlBlocks).map(([type, [weights, bytes]]) => ({
      name: type,
      type: type as GgmlType,
      shape: [weights],
      data: new Uint8Array(bytes).fill(0x5a),
    })),
  ),
)
const fields = [8, 6, 2, 2, 1, 3, 5] // a layer has 352 floats: see llama2c.ts
const bytesOf = ({ buffer }: Int32Array | Float32Array) => new Uint8Array(buffer)
const legacy = sample('v0.bin', (path) =>
  writeFileSync(
    path,
    Buffer.concat([bytesOf(Int32Array.from(fields)), bytesOf(floats(24 + 2 * 352 + 8 + 20))]),
  ),
)
const versioned = sample('v1.bin', (path) => {
  const header = Buffer.alloc(256)
  header.set(bytesOf(Int32Array.of(0x616b3432, 1, ...fields)))
  header[36] = 1
  writeFileSync(path, Buffer.concat([header, bytesOf(floats(8 + 24 + 2 * 352))]))
})

describe.each([
  { name: 'safetensors', file: safetensors, open: openSafetensors },
  { name: 'safetensors index', file: index, open: openShards },
  { name: 'GGUF', file: gguf, open: openGguf },
  { name: 'GGUF of every block type', file: everyType, open: openGguf },
  { name: 'llama2.c v0', file: legacy, open: openLlama2c },
  { name: 'llama2.c v1', file: versioned, open: openLlama2c },
])('$name', ({ file, open }) => {
  test('the sample itself opens', () => {
    expect(probe(file.path, file.bytes, open)).toBe('opened')
  })

  test('damaged samples', () => {
    fc.assert(
      fc.property(mutations, (steps) => {
        const damaged = steps.reduce<Buffer>((bytes, step) => step(bytes), Buffer.from(file.bytes))
        probe(file.path, damaged, open)
        probe(file.path, damaged, openCheckpoint)
      }),
      parameters,
    )
  })

  test('noise behind the first bytes', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.uint8Array({ maxLength: 200, size: 'max' }), (kept, noise) => {
        probe(file.path, Buffer.concat([file.bytes.subarray(0, kept), noise]), open)
      }),
      parameters,
    )
  })
})

describe('headers that are nearly right', () => {
  const mostly = <T>(usual: fc.Arbitrary<T>, ...odd: fc.Arbitrary<T>[]) =>
    fc.oneof({ weight: 6, arbitrary: usual }, ...odd)
  const framed = (json: string, data: number) =>
    Buffer.concat([le(Buffer.byteLength(json), 8), Buffer.from(json), Buffer.alloc(data)])

  test('safetensors', () => {
    const odd = fc.constantFrom('-1', '1e3', '0.5', '01', '4294967296', '9007199254740991', '1'.repeat(400))
    const number = mostly(fc.nat(16).map(String), odd)
    const list = (length: fc.ArrayConstraints) => fc.array(number, length).map((items) => `[${items}]`)
    const name = fc.constantFrom('a', 'b', '__proto__', 'constructor', '__metadata__', '', 'é', '\\u0061')
    const dtype = fc.constantFrom('"U8"', '"U8"', '"F16"', '"F8_E5M2"', '"C64"', '"__proto__"', 'null')
    const value = mostly(
      fc
        .tuple(dtype, list({ maxLength: 3 }), list({ minLength: 2, maxLength: 2 }))
        .map(([type, shape, range]) => `{"dtype":${type},"shape":${shape},"data_offsets":${range}}`),
      fc.json(),
      fc.constantFrom('{}', '['.repeat(5000), '{"a":'.repeat(5000), '{"dtype":"U8","dtype":"U8"}'),
    )
    const header = fc.array(fc.tuple(name, value), { maxLength: 4 })
    fc.assert(
      fc.property(header, fc.nat(32), (members, data) => {
        const json = `{${members.map(([key, text]) => `"${key}":${text}`)}}`
        probe(safetensors.path, framed(json, data), openSafetensors)
      }),
      parameters,
    )
  })

  // Ranges this small often fit, so that both outcomes are seen.
  test('safetensors whose two tensors may or may not fill the data', () => {
    const outcomes = new Set<string>()
    const range = fc.tuple(fc.nat(3), fc.nat(3))
    const entry = ([from, to]: number[]) =>
      `{"dtype":"U8","shape":[${Math.abs(to! - from!)}],"data_offsets":[${from},${to}]}`
    const fill = ([a, b]: number[], [c, d]: number[], data: number) => a === 0 && b === c && d === data
    fc.assert(
      fc.property(range, range, fc.nat(4), (x, y, data) => {
        const fits = x[0] <= x[1] && y[0] <= y[1] && (fill(x, y, data) || fill(y, x, data))
        const bytes = framed(`{"x":${entry(x)},"y":${entry(y)}}`, data)
        const outcome = probe(safetensors.path, bytes, openSafetensors)
        expect(outcome).toBe(fits ? 'opened' : 'refused')
        outcomes.add(outcome)
      }),
      { ...parameters, numRuns: 3 * parameters.numRuns },
    )
    expect(outcomes.size).toBe(2)
  })

  test('GGUF', () => {
    const count = mostly(fc.nat(3).map(BigInt), fc.constantFrom(...hostileNumbers))
    const number = (width: number) => count.map((value) => le(value, width))
    const id = (max: number) => fc.nat(max).map((value) => le(value, 4))
    const text = fc
      .string({ maxLength: 3 })
      .map((s): Uint8Array => Buffer.concat([le(Buffer.byteLength(s), 8), Buffer.from(s)]))
    const pair = fc.tuple(text, id(13), fc.oneof(text, number(8), number(4)))
    const tensor = fc.tuple(text, id(2), number(8), number(8), id(31), number(8))
    const rest = fc.array(fc.oneof(text, id(14), number(8), fc.uint8Array({ maxLength: 40 })))
    const records = fc.tuple(fc.array(pair, { maxLength: 3 }), fc.array(tensor, { maxLength: 3 }))
    fc.assert(
      fc.property(number(8), number(8), records, rest, (tensors, pairs, parts, end) => {
        const start = [Buffer.from('GGUF'), le(3, 4), tensors, pairs]
        probe(gguf.path, Buffer.concat([...start, ...parts.flat(2), ...end]), openGguf)
      }),
      parameters,
    )
  })
})
