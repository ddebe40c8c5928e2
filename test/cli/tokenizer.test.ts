import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
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
writeFileSync(at('all.jsonl'), `${documents.map((story) => JSON.stringify({ story })).join('\n\n')}\n`)
const files = ['--file', at('first.txt'), '--file', at('second.txt.gz')]
const written = (name: string): unknown => JSON.parse(readFileSync(at(`${name}/tokenizer.json`), 'utf8'))

interface Trained {
  kind: string
  vocabSize: number
  documents: number
  bytes: number
}

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
    [['train', '--file', 'package.json', '-o', 'x'], 1, 'package.json: the name must end in .txt'],
    [['train', ...files, '-o', 'x', '--lowercase'], 2, '--lowercase is for wordpiece, not for bpe'],
    [['train', ...files, '-o', 'x', '--vocab', '9'], 1, 'vocabSize 9 is too small'],
    [['train', ...files, '-o', 'models/starter'], 1, 'tokenizer.json: is there already'],
    [['train', '--file', at('all.jsonl'), '-o', 'x'], 1, 'all.jsonl:1: has no text under "text": --field'],
    [['train', '--file', at('cut.txt.gz'), '-o', 'x'], 1, 'cut.txt.gz: unexpected end of file'],
    [['train', '--file', at('latin.txt'), '-o', 'x'], 1, 'latin.txt: is not UTF-8 text'],
    [['train', '--file', at('empty.txt'), '-o', 'x'], 1, 'empty.txt: no text'],
    [['compare', '-m', 'models/starter', '--text-file', at('first.txt'), '--digits'], 2, '--digits is for'],
    [['compare', '-m', 'models/starter', ...files], 2, '--file is not for tokenizer compare'],
    [['compare', '--text-file', at('first.txt')], 2, '--model is missing'],
    [['tran'], 2, 'must be train or compare'],
  ])('%j fails', async (args, status, message) => {
    mkdirSync(folder, { recursive: true })
    writeFileSync(at('cut.txt.gz'), gzipSync(documents.join('\n')).subarray(0, 300))
    writeFileSync(at('latin.txt'), Buffer.from('caf\xe9', 'latin1'))
    writeFileSync(at('empty.txt'), '\n<|endoftext|>\n')
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
