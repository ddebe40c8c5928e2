import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { parquetWriteFile } from 'hyparquet-writer'
import { afterAll, describe, expect, test } from 'vitest'
import { openParquet } from './parquet.ts'
import type { Rows } from './types.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-parquet-'))
afterAll(() => rmSync(folder, { recursive: true }))
const all = <T>(rows: Rows<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: rows.length }, (_, index) => rows.at(index)))

type Written = Omit<Parameters<typeof parquetWriteFile>[0], 'filename'>
function write(name: string, options: Written): string {
  const filename = join(folder, name)
  parquetWriteFile({ filename, ...options })
  return filename
}

const texts = Array.from(
  { length: 100 },
  (_, i) => `row ${i} of a text that repeats itself, a text that repeats`,
)
const numbers = texts.map((_, i) => i)
const columnData: Written['columnData'] = [
  { name: 'text', data: texts, type: 'STRING' },
  { name: 'number', data: numbers, type: 'INT32' },
]
const wanted = texts.map((text, number) => ({ text, number }))

describe('compressions', () => {
  test.each(['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI'] as const)('%s', async (codec) => {
    const compressors = {
      GZIP: (input: Uint8Array) => gzipSync(input),
      BROTLI: (input: Uint8Array) => brotliCompressSync(input),
    }
    const path = write(`${codec}.parquet`, { columnData, codec, compressors, rowGroupSize: 40 })
    expect(await all(await openParquet(path))).toEqual(wanted)
  })

  test.each(['zstd', 'lz4_raw'])('%s', async (codec) => {
    const path = fileURLToPath(new URL(`../../../test/fixtures/data/${codec}.parquet`, import.meta.url))
    expect(await all(await openParquet(path))).toEqual(wanted)
  })
})

describe('rows', () => {
  test('in any order, some columns only', async () => {
    const path = write('groups.parquet', { columnData, rowGroupSize: 7 })
    const rows = await openParquet(path)
    for (const index of [99, 0, 50, 6, 7, 99]) expect(await rows.at(index)).toEqual(wanted[index])
    await expect(rows.at(100)).rejects.toThrow('row 100 of 100')
    const some = await openParquet(path, { columns: ['number'] })
    expect(await some.at(33)).toEqual({ number: 33 })
    await expect(openParquet(path, { columns: ['words'] })).rejects.toThrow(
      'no column "words"; it has: text, number',
    )
    expect(rows.stamp).not.toBe(some.stamp)
  })

  test('of messages, as the hub stores conversations', async () => {
    const messages = [
      [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Yo 😀' },
      ],
      [],
      [{ role: 'user', content: null }],
    ]
    const path = write('messages.parquet', {
      columnData: [
        { name: 'messages', data: messages },
        { name: 'id', data: [1n, 2n ** 60n, 3n] },
        { name: 'label', data: [true, false, null] },
      ],
      schema: [
        { name: 'root', num_children: 3 },
        { name: 'messages', repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL', num_children: 2 },
        { name: 'content', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY', converted_type: 'UTF8' },
        { name: 'role', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY', converted_type: 'UTF8' },
        { name: 'id', repetition_type: 'REQUIRED', type: 'INT64' },
        { name: 'label', repetition_type: 'OPTIONAL', type: 'BOOLEAN' },
      ],
    })
    expect(await all(await openParquet(path))).toEqual([
      { messages: messages[0], id: 1, label: true },
      { messages: messages[1], id: 2n ** 60n, label: false },
      { messages: messages[2], id: 3, label: null },
    ])
  })
})

describe('what cannot be read is an error', () => {
  test('other files, and cut ones', async () => {
    const other = join(folder, 'other.parquet')
    writeFileSync(other, 'not a table')
    await expect(openParquet(other)).rejects.toThrow(/other.parquet.*its footer cannot be read as Parquet/)
    const cut = write('cut.parquet', { columnData })
    truncateSync(cut, readFileSync(cut).length - 9)
    await expect(openParquet(cut)).rejects.toThrow('its footer cannot be read')
    await expect(openParquet(join(folder, 'none.parquet'))).rejects.toThrow('no such file')
  })

  test('a damaged group, when one of its rows is asked for', async () => {
    const compressors = { GZIP: (input: Uint8Array) => gzipSync(input) }
    const path = write('damaged.parquet', { columnData, codec: 'GZIP', compressors, rowGroupSize: 50 })
    const bytes = readFileSync(path)
    bytes.fill(0xff, 60, 90)
    writeFileSync(path, bytes)
    const rows = await openParquet(path)
    await expect(rows.at(3)).rejects.toThrow('its row group 0 cannot be read')
    expect(await rows.at(77)).toEqual(wanted[77])
  })

  test('bytes that are no text', async () => {
    const images = [Uint8Array.of(0xff, 0xd8), Uint8Array.of(0xff)]
    const path = write('images.parquet', {
      columnData: [
        { name: 'image', data: images, type: 'BYTE_ARRAY' },
        { name: 'text', data: ['a', 'b'], type: 'STRING' },
      ],
      statistics: false,
    })
    await expect((await openParquet(path)).at(0)).rejects.toThrow('not UTF-8 text: name the columns to read')
    expect(await all(await openParquet(path, { columns: ['text'] }))).toEqual([{ text: 'a' }, { text: 'b' }])
  })
})
