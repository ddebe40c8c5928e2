import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { openTable } from './table.ts'
import type { Rows } from './types.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-table-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const all = <T>(rows: Rows<T>): (T | Promise<T>)[] =>
  Array.from({ length: rows.length }, (_, i) => rows.at(i))

describe('tables', () => {
  test('fields with and without quotes', async () => {
    const content = '\ufeffprompt,"a ""b""",label\r\n x ,"one, ""two""\r\nthree",\r\n\r\n"","",é\n,,😀'
    expect(all(await openTable(file('a.csv', content)))).toEqual([
      { prompt: ' x ', 'a "b"': 'one, "two"\r\nthree', label: '' },
      { prompt: '', 'a "b"': '', label: 'é' },
      { prompt: '', 'a "b"': '', label: '😀' },
    ])
  })

  test('tabs by name, any delimiter by option, gzip', async () => {
    expect(all(await openTable(file('a.tsv', 'a\tb\n1,2\t3\n')))).toEqual([{ a: '1,2', b: '3' }])
    expect(all(await openTable(file('b.csv', 'a;b\n1,2;3\n'), { delimiter: ';' }))).toEqual([
      { a: '1,2', b: '3' },
    ])
    expect(all(await openTable(file('c.csv.gz', gzipSync('a\n1\n2\n'))))).toEqual([{ a: '1' }, { a: '2' }])
    await expect(openTable(file('d.csv', 'a'), { delimiter: '"' })).rejects.toThrow('delimiter')
  })

  test('what is not well-formed is an error with its line', async () => {
    const opened = (content: string) => openTable(file('bad.csv', content))
    await expect(opened('a,b\n1,2\n3\n')).rejects.toThrow(
      'bad.csv: at byte 8: line 3 has 1 fields; there are 2',
    )
    await expect(opened('a,b\n1,2,3')).rejects.toThrow('line 2 has 3 fields')
    await expect(opened('a,b\n"1\n2",3\n4')).rejects.toThrow('line 4 has 1 fields')
    await expect(opened('a\nx"y"\n')).rejects.toThrow('line 2 has a quote amid a field')
    await expect(opened('a\n"x"y\n')).rejects.toThrow('line 2 has text behind a field in quotes')
    await expect(opened('a\n1\n"x\ny\n')).rejects.toThrow(
      'at byte 4: line 3 has a field in quotes without an end',
    )
    await expect(opened('a\rb\n')).rejects.toThrow('carriage return')
    await expect(opened('a,a\n')).rejects.toThrow('two columns named "a"')
    await expect(opened('')).rejects.toThrow('no first line')
  })

  test('any fields come back', async () => {
    const field = fc.string({
      unit: fc.constantFrom('a', 'ä', '"', ',', '\n', '\r\n', ' ', '😀'),
      maxLength: 6,
    })
    const table = fc.array(fc.tuple(field, field), { maxLength: 8 })
    const quoted = (text: string): string =>
      /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
    const check = async (rows: [string, string][]): Promise<void> => {
      const lines = [['x', 'y'], ...rows].map((row) => row.map(quoted).join(','))
      expect(all(await openTable(file('any.csv', lines.join('\n'))))).toEqual(
        rows.map(([x, y]) => ({ x, y })),
      )
    }
    await fc.assert(fc.asyncProperty(table, check), { numRuns: 200 })
  })
})
