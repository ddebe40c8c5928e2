import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteFile } from 'hyparquet-writer'
import { afterAll, describe, expect, test } from 'vitest'
import { HubServer } from '../../../test/hubServer.ts'
import { hubSettings } from '../../store/index.ts'
import { openRows, type RowsSpec } from './open.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-open-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (path: string): string => join(folder, path)
function file(path: string, content: string | Uint8Array): string {
  mkdirSync(dirname(at(path)), { recursive: true })
  writeFileSync(at(path), content)
  return at(path)
}
async function all(spec: RowsSpec): Promise<unknown[]> {
  const rows = await openRows(spec)
  return Promise.all(Array.from({ length: rows.length }, (_, index) => rows.at(index)))
}

describe('by extension', () => {
  test('each kind', async () => {
    expect(await all(file('a.jsonl', '{"a":1}\n'))).toEqual([{ a: 1 }])
    expect(await all(file('a.json', '[{"a":1}]'))).toEqual([{ a: 1 }])
    expect(await all(file('a.csv.gz', gzipSync('a,b\n1,2')))).toEqual([{ a: '1', b: '2' }])
    expect(await all(file('a.tsv', 'a\tb\n1\t2'))).toEqual([{ a: '1', b: '2' }])
    expect(await all(file('a.txt', 'One\n<|endoftext|>\nTwo'))).toEqual([{ text: 'One' }, { text: 'Two' }])
    parquetWriteFile({ filename: at('a.parquet'), columnData: [{ name: 'a', data: [1, 2], type: 'INT32' }] })
    expect(await all(at('a.parquet'))).toEqual([{ a: 1 }, { a: 2 }])
  })

  test('with the options of the kind and no others', async () => {
    const text = file('lines.txt', 'One\nTwo')
    expect(await all({ files: text, documents: 'line' })).toEqual([{ text: 'One' }, { text: 'Two' }])
    expect(await all({ files: file('semi.csv', 'a;b\n1;2'), delimiter: ';' })).toEqual([{ a: '1', b: '2' }])
    await expect(all({ files: text, delimiter: ';' })).rejects.toThrow(
      "is text, for which there is no option 'delimiter'",
    )
    await expect(all({ files: text, document: 'line' } as never)).rejects.toThrow(/data set: .*"document"/)
    await expect(all({ files: [] })).rejects.toThrow('data set')
    await expect(all(file('a.xml', ''))).rejects.toThrow('a.xml is of no kind that is read here: .jsonl')
  })
})

describe('several files', () => {
  for (const [path, value] of [
    ['b/2.jsonl', 3],
    ['b/1.jsonl', 2],
    ['a.jsonl', 1],
    ['b/c/3.jsonl', 4],
    ['.hidden.jsonl', 9],
  ] as const)
    file(`set/${path}`, `{"a":${value}}\n`)
  file('set/README.md', 'about')
  const rows = [1, 2, 3, 4].map((a) => ({ a }))

  test('of a folder, of a pattern, of a list, in order', async () => {
    expect(await all(at('set'))).toEqual(rows)
    expect(await all(at('set/**/*.jsonl'))).toEqual(rows)
    expect(await all(at('set/b/*.jsonl'))).toEqual(rows.slice(1, 3))
    expect(await all(at('set/b/{2,1}.json?'))).toEqual(rows.slice(1, 3))
    expect(await all([at('set/b/[!1].jsonl'), at('set/a.jsonl')])).toEqual([{ a: 3 }, { a: 1 }])
    expect(await all({ files: [at('set/a.jsonl'), at('set/b')] })).toEqual(rows)
  })

  test('of several kinds, or none, are errors', async () => {
    file('mixed/a.jsonl', '{}')
    file('mixed/b.txt', 'a')
    file('nothing/b.md', 'a')
    await expect(all(at('mixed'))).rejects.toThrow('files of several kinds (JSON Lines, text)')
    await expect(all(at('nothing'))).rejects.toThrow('is a folder without data')
    await expect(all(at('set/*.csv'))).rejects.toThrow('no file fits the pattern')
    await expect(all(at('none.jsonl'))).rejects.toThrow('there is no file or folder')
    await expect(all(at('set/[.jsonl'))).rejects.toThrow('has a [ without its ]')
  })
})

test('of the hub', async () => {
  await using server = await HubServer.start()
  const parquet = readFileSync(new URL('../../../test/fixtures/data/zstd.parquet', import.meta.url))
  const [first, second] = [0, 1].map((part) => `data/train-0000${part}-of-00002.parquet`) as [string, string]
  const files = {
    [first]: parquet,
    [second]: parquet,
    'data/test-00000-of-00001.parquet': parquet,
    'extra.jsonl': Buffer.from('{"a":1}\n'),
  }
  server.commit('datasets/someone/stories', files)
  const settings = hubSettings({
    HF_ENDPOINT: server.endpoint,
    HF_HUB_CACHE: at('hub'),
    HF_TOKEN_PATH: at('token'),
  })
  const rows = await openRows('hf://datasets/someone/stories', { settings })
  expect(rows.length).toBe(200)
  expect(await rows.at(101)).toEqual({ text: expect.stringContaining('row 1 of'), number: 1 })
  const numbers = await openRows({ hub: 'someone/stories', split: 'test', columns: ['number'] }, { settings })
  expect(await numbers.at(99)).toEqual({ number: 99 })
  expect(
    await (await openRows('hf://datasets/someone/stories@main/extra.jsonl', { settings })).at(0),
  ).toEqual({ a: 1 })
  expect((await openRows('hf://datasets/someone/stories/data', { settings })).length).toBe(300)
  await expect(openRows('hf://someone/stories')).rejects.toThrow('hf://datasets/org/name')
  await expect(openRows({ hub: 'stories' })).rejects.toThrow('is a name as org/name')
})
