import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Utf8Decoder } from './utf8.ts'

const decode = (decoder: Utf8Decoder, bytes: readonly number[]) =>
  bytes.map((byte) => decoder.push(byte)).join('') + decoder.flush()

/** Bytes that often make characters, whole and damaged. */
const bytes = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary' }).map((text) => [...new TextEncoder().encode(text)]),
      fc.array(fc.nat(255)),
    ),
  )
  .map((parts) => parts.flat())

test('decodes as the web does, damage included', () => {
  fc.assert(
    fc.property(bytes, (data) => {
      const expected = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(data))
      expect(decode(new Utf8Decoder('each sequence'), data)).toBe(expected)
    }),
    { numRuns: 1000 },
  )
})

test('gives a character with its last byte, not sooner or later', () => {
  const decoder = new Utf8Decoder('each byte')
  expect([...new TextEncoder().encode('a🙂é')].map((byte) => decoder.push(byte))).toEqual([
    'a',
    '',
    '',
    '',
    '🙂',
    '',
    'é',
  ])
})

test('replaces each byte of an unfinished character, if asked to', () => {
  expect(decode(new Utf8Decoder('each byte'), [0xf0, 0x9f, 0x99, 0x41, 0xff])).toBe(
    '\ufffd\ufffd\ufffdA\ufffd',
  )
  expect(decode(new Utf8Decoder('each sequence'), [0xf0, 0x9f, 0x99, 0x41, 0xff])).toBe('\ufffdA\ufffd')
})
