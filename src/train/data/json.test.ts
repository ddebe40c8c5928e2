import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { openJson, openJsonLines } from './json.ts'
import type { Rows } from './types.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-json-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const all = <T>(rows: Rows<T>): (T | Promise<T>)[] =>
  Array.from({ length: rows.length }, (_, i) => rows.at(i))

describe('JSON Lines', () => {
  test('a row a line, blank ones left out', async () => {
    const path = file('a.jsonl', '\ufeff{"a":"ä\\n"}\r\n\n  {"b":[1,{"c":null}]} \n \t\n{"d":{}}')
    expect(all(await openJsonLines(path))).toEqual([{ a: 'ä\n' }, { b: [1, { c: null }] }, { d: {} }])
    expect(all(await openJsonLines(file('a.jsonl.gz', gzipSync('{"a":1}\n{"a":2}\n'))))).toEqual([
      { a: 1 },
      { a: 2 },
    ])
    expect((await openJsonLines(file('empty.jsonl', ''))).length).toBe(0)
  })

  test('any row of many', async () => {
    const path = file(
      'many.jsonl',
      Array.from({ length: 200_000 }, (_, i) => `{"text":"row number ${i}"}\n`).join(''),
    )
    const rows = await openJsonLines(path)
    expect(rows.length).toBe(200_000)
    for (const index of [199_999, 0, 123_456, 7])
      expect(rows.at(index)).toEqual({ text: `row number ${index}` })
  })

  test('a cut or foreign line is an error when the file is opened', async () => {
    await expect(openJsonLines(file('cut.jsonl', '{"a":1}\n{"a":"b'))).rejects.toThrow(
      'cut.jsonl: at byte 8: line 2 is no JSON object',
    )
    await expect(openJsonLines(file('list.jsonl', '[1]\n'))).rejects.toThrow('line 1 is no JSON object')
  })

  test('a bad line is an error that names it', async () => {
    const rows = await openJsonLines(file('bad.jsonl', '{"a":1}\n\n{"a":}\n{"a":3}\n'))
    expect(rows.at(2)).toEqual({ a: 3 })
    expect(() => rows.at(1)).toThrow(/bad.jsonl: at byte 9: line 3 is not JSON \(/)
    const latin = await openJsonLines(file('latin.jsonl', Buffer.from('{"a":"\xe9"}', 'latin1')))
    expect(() => latin.at(0)).toThrow('line 1 is not UTF-8')
  })
})

describe('JSON', () => {
  test('an array of objects, or lines', async () => {
    expect(all(await openJson(file('a.json', '\ufeff \n[ {"a":1},\n {"a":[2]} ]\n')))).toEqual([
      { a: 1 },
      { a: [2] },
    ])
    expect(all(await openJson(file('lines.json', '\n{"a":1}\n{"a":2}')))).toEqual([{ a: 1 }, { a: 2 }])
    expect(all(await openJson(file('none.json', '[]')))).toEqual([])
  })

  test('anything else is an error', async () => {
    await expect(openJson(file('mixed.json', '[{}, 3]'))).rejects.toThrow(
      'element 1 is no object but a number',
    )
    await expect(openJson(file('cut.json', '[{"a":1},'))).rejects.toThrow('is not JSON')
    await expect(openJson(file('pretty.json', '{\n "a": 1\n}'))).rejects.toThrow('line 1 is no JSON object')
  })
})
