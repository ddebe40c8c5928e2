import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { corpus } from '../../src/cli/tokenizer/corpus.ts'
import { loadTokenizer, trainBpe, trainUnigram, trainWordPiece } from '../../src/text/index.ts'
import { glossa, json } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-tokenizer-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

const { texts } = JSON.parse(
  readFileSync(new URL('../fixtures/text/training.json', import.meta.url), 'utf8'),
) as { texts: string[] }
const documents = texts.filter((text) => !text.includes('<|endoftext|>'))
const [first, second] = [documents.slice(0, 9), documents.slice(9)]
writeFileSync(at('first.txt'), first.join('\n<|endoftext|>\n'))
writeFileSync(at('second.txt.gz'), gzipSync(`${second.join('\r\n<|endoftext|>\r\n')}\n<|endoftext|>\n`))
writeFileSync(at('empty.txt'), '\n<|endoftext|>\n')
writeFileSync(at('all.jsonl'), `${documents.map((story) => JSON.stringify({ story })).join('\n\n')}\n`)
const files = ['--file', at('first.txt'), '--file', at('second.txt.gz')]
const written = (name: string): unknown => JSON.parse(readFileSync(at(`${name}/tokenizer.json`), 'utf8'))

interface Trained {
  kind: string
  vocabSize: number
  documents: number
  bytes: number
}

describe('a corpus', () => {
  async function read(name: string, content: string | Buffer, field = 'text'): Promise<string[]> {
    writeFileSync(at(name), content)
    const found: string[] = []
    for await (const text of corpus([at(name)], { field })) found.push(text)
    return found
  }

  it('is cut at lines of the separator, and nowhere else', async () => {
    const mark = '<|endoftext|>'
    expect(await read('a.txt', `${mark}\none\n\ntwo\n${mark}\n${mark}\n  three\n`)).toEqual([
      'one\n\ntwo',
      '  three',
    ])
    expect(await read('b.txt', `one ${mark}\n${mark} two`)).toEqual([`one ${mark}\n${mark} two`])
    expect(await read('c.txt', `one\r\n${mark}\r\ntwo\r\n${mark}`)).toEqual(['one', 'two'])
    expect(await read('d.txt', '')).toEqual([])
  })

  it('comes in parts where documents are long, cut before spaces', async () => {
    const long = `${'wörter 🙂 '.repeat(20)}\n\n`.repeat(15_000)
    const parts = await read('long.txt.gz', gzipSync(`${long}\n<|endoftext|>\nend`))
    expect(parts.at(-1)).toBe('end')
    expect(parts.length).toBeGreaterThan(2)
    expect(parts.slice(0, -1).join('').trimEnd()).toBe(long.trimEnd())
    for (const part of parts.slice(1, -1)) expect(part).toMatch(/^\s/)
  })

  it('refuses files that it cannot read, by name', async () => {
    await expect(read('x.json', '{}')).rejects.toThrow('x.json: the name must end in .txt')
    await expect(read('x.jsonl', '{"text": "a"}\n{"story": "b"}')).rejects.toThrow(
      'x.jsonl:2: has no text under "text": --field',
    )
    await expect(read('y.jsonl', '{"text": "a"')).rejects.toThrow('y.jsonl:1: not JSON')
    await expect(read('x.txt.gz', gzipSync(documents.join()).subarray(0, 300))).rejects.toThrow(
      'x.txt.gz: unexpected end of file',
    )
    await expect(read('y.txt', Buffer.from('caf\xe9', 'latin1'))).rejects.toThrow('y.txt: is not UTF-8')
  })
})

describe('glossa tokenizer train', () => {
  it('trains each kind on documents, whatever file they are in', async () => {
    const bytes = Buffer.byteLength(documents.join(''))
    const runs = [
      json<Trained>('tokenizer', 'train', '--vocab', '400', ...files, '-o', at('bpe'), '--digits'),
      json<Trained>(
        ...['tokenizer', 'train', '--kind', 'wordpiece', '--vocab', '600', '--lowercase'],
        ...['--file', at('all.jsonl'), '--field', 'story', '-o', at('wordpiece')],
      ),
      json<Trained>(
        ...['tokenizer', 'train', '--kind', 'unigram', '--vocab', '700', ...files, '-o', at('unigram')],
        ...[
          '--special-token',
          '<unk>',
          '--special-token',
          '<s>',
          '--begin',
          '<s>',
          '--shrinking-factor',
          '0.5',
        ],
      ),
    ]
    for (const run of await Promise.all(runs))
      expect(run).toMatchObject({ documents: documents.length, bytes })
    expect(written('bpe')).toEqual(inFile(trainBpe(documents, { vocabSize: 400, digits: true })))
    expect(written('wordpiece')).toEqual(
      inFile(trainWordPiece(documents, { vocabSize: 600, lowercase: true })),
    )
    const options = { vocabSize: 700, specialTokens: ['<unk>', '<s>'], begin: '<s>', shrinkingFactor: 0.5 }
    expect(written('unigram')).toEqual(inFile(trainUnigram(documents, options)))
    expect(readdirSync(at('unigram')).sort()).toEqual(['tokenizer.json', 'tokenizer_config.json'])
    expect(loadTokenizer(at('unigram')).bos).toBe(1)
  })

  it('says when the text gives fewer tokens', async () => {
    writeFileSync(at('tiny.txt'), 'ab ab')
    const { stdout, stderr, code } = await glossa(
      ...['tokenizer', 'train', '--file', at('tiny.txt'), '-o', at('tiny')],
    )
    expect([code, stderr]).toEqual([0, 'the text gives no more than 258 of 8192 tokens\n'])
    expect(stdout).toMatch(/^258 tokens from 1 texts, 0.005 kB, in [\d.]+ s; .*tiny\n$/)
  })

  it.each([
    [['train', '-o', 'x'], 2, '--file is missing: tokenizer train needs it'],
    [['train', '--file', 'no.txt', '-o', 'x'], 1, 'no.txt: there is no such file'],
    [['train', ...files, '-o', 'x', '--lowercase'], 2, '--lowercase is for wordpiece, not for bpe'],
    [['train', ...files, '-o', 'x', '--vocab', '9'], 1, 'vocabSize 9 is too small'],
    [['train', ...files, '-o', 'models/starter'], 1, 'tokenizer.json: is there already'],
    [['train', '--file', at('empty.txt'), '-o', 'x'], 1, 'empty.txt: no text'],
    [['compare', '-m', 'models/starter', '--text-file', at('first.txt'), '--digits'], 2, '--digits is for'],
    [['compare', '-m', 'models/starter', ...files], 2, '--file is not for tokenizer compare'],
    [['compare', '--text-file', at('first.txt')], 2, '--model is missing'],
    [['tran'], 2, 'must be train or compare'],
  ])('%j fails', async (args, status, message) => {
    const { stdout, stderr, code } = await glossa('tokenizer', ...args)
    expect(stderr).toContain(message)
    expect([code, stdout]).toEqual([status, ''])
  })
})

describe('glossa tokenizer compare', () => {
  it('measures tokenizers on a text', async () => {
    await json('tokenizer', 'train', '--vocab', '300', ...files, '-o', at('small'))
    await json('tokenizer', 'train', '--vocab', '600', ...files, '-o', at('large'))
    const args = [
      'tokenizer',
      'compare',
      '-m',
      at('small'),
      '-m',
      at('large'),
      '--text-file',
      at('first.txt'),
    ]
    const { bytes, tokenizers } = await json<{
      bytes: number
      tokenizers: Record<string, number>[]
    }>(...args)
    const [small, large] = tokenizers as [Record<string, number>, Record<string, number>]
    expect(bytes).toBe(Buffer.byteLength(first.join('')))
    const own = loadTokenizer(at('small'))
    const tokens = first.reduce((sum, text) => sum + own.encode(text).ids.length, 0)
    expect(small).toMatchObject({ vocabSize: 300, tokens, bytesPerToken: bytes / tokens, unknown: 0 })
    expect(large.bytesPerToken).toBeGreaterThan(small.bytesPerToken!)
    expect(large.fertility).toBeLessThan(small.fertility!)
    expect(large.wholeWords).toBeGreaterThan(small.wholeWords!)
    const { stdout, code } = await glossa(...args)
    expect(code).toBe(0)
    expect(stdout.split('\n')[0]).toMatch(/vocabulary +tokens +bytes\/token +tokens\/word +whole +unknown/)
    expect(stdout).toContain(` 300  `)
  })
})

/** As it is in a file: without what is undefined. */
const inFile = (value: object): unknown => JSON.parse(JSON.stringify(value))
