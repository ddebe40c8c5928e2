import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { openBytes } from './bytes.ts'
import { openText, type TextOptions } from './text.ts'
import type { Row } from './types.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-text-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
async function textsOf(path: string, options?: TextOptions): Promise<unknown[]> {
  const rows = await openText(path, options)
  const all = Array.from({ length: rows.length }, (_, i) => rows.at(i) as Row)
  return all.map(({ text }) => text)
}

describe('documents', () => {
  const content =
    '\ufeffOne.\n\nStill one.\n<|endoftext|>\n\n  Two: ä€😀\r\n <|endoftext|> \r\n\n<|endoftext|>\nThree'

  test('end at a line with the separator; blank ones are none', async () => {
    const path = file('a.txt', content)
    expect(await textsOf(path)).toEqual(['One.\n\nStill one.', '  Two: ä€😀', 'Three'])
  })

  test('end with each line', async () => {
    const path = file('lines.txt', '\ufeffa\r\n\n  \nb c \n\nd')
    expect(await textsOf(path, { documents: 'line' })).toEqual(['a', 'b c ', 'd'])
  })

  test('end with the file; a file of nothing has none', async () => {
    expect(await textsOf(file('whole.txt', '\na\n<|endoftext|>\nb\n'), { documents: 'file' })).toEqual([
      'a\n<|endoftext|>\nb',
    ])
    expect(await textsOf(file('empty.txt', ''))).toEqual([])
    expect(await textsOf(file('blank.txt', ' \n\t\n'))).toEqual([])
  })

  test('of another separator, which may occur in the text', async () => {
    const path = file('dashes.txt', 'a --- b\n---\nc\n')
    expect(await textsOf(path, { separator: '---' })).toEqual(['a --- b', 'c'])
    await expect(openText(path, { separator: ' ' })).rejects.toThrow('not blank')
  })

  test('a marker amid a line is an error with its line', async () => {
    await expect(openText(file('amid.txt', 'a\nb<|endoftext|>\nc'))).rejects.toThrow(
      'amid.txt: at byte 3: line 2 has the separator <|endoftext|> amid other text',
    )
  })

  test('what is not UTF-8 is an error with its line', async () => {
    const rows = await openText(file('latin1.txt', Buffer.from('ok\n<|endoftext|>\ncaf\xe9', 'latin1')))
    expect(rows.at(0)).toEqual({ text: 'ok' })
    expect(() => rows.at(1)).toThrow('latin1.txt: at byte 17: line 3: the document that begins here is not')
    expect(() => rows.at(2)).toThrow('row 2 of 2')
    expect(() => rows.at(-1)).toThrow(RangeError)
  })

  test('longer than what is read at once', async () => {
    const documents = Array.from({ length: 9 }, (_, i) => `${i}`.repeat(1_234_567))
    const path = file('long.txt', documents.join('\r\n<|endoftext|>\r\n'))
    expect((await textsOf(path)).map((text) => text === documents[Number((text as string)[0])])).toEqual(
      documents.map(() => true),
    )
    expect((await textsOf(path, { documents: 'line' })).length).toBe(17)
  })
})

describe('gzip', () => {
  const text = 'One\n<|endoftext|>\nTwo'

  test('is unpacked, of several members too', async () => {
    expect(await textsOf(file('a.txt.gz', gzipSync(text)))).toEqual(['One', 'Two'])
    const members = Buffer.concat([gzipSync(text), gzipSync('\n<|endoftext|>\nThree')])
    expect(await textsOf(file('b.txt.gz', members))).toEqual(['One', 'Two', 'Three'])
  })

  test('of much text goes to the disk', async () => {
    const long = Buffer.from(`${text}\n`.repeat(50_000))
    const path = file('long.txt.gz', gzipSync(long))
    const [held, onDisk] = [await openBytes(path), await openBytes(path, 1000)]
    expect([held.constructor.name, onDisk.constructor.name]).toEqual(['MemorySource', 'UnpackedFile'])
    expect([held.size, onDisk.size]).toEqual([long.length, long.length])
    expect(Buffer.from(onDisk.read(0, long.length)).equals(long)).toBe(true)
  })

  test('cut short or damaged is an error', async () => {
    const packed = gzipSync(text.repeat(1000))
    await expect(openText(file('cut.txt.gz', packed.subarray(0, -20)))).rejects.toThrow(
      /cut.txt.gz.*not a whole gzip/,
    )
    await expect(openText(file('no.txt.gz', text))).rejects.toThrow(/no.txt.gz.*not a whole gzip/)
    await expect(openText(join(folder, 'none.txt.gz'))).rejects.toThrow('no such file')
  })
})
