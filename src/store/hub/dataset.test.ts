import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HubServer } from '../../../test/hubServer.ts'
import { cardConfigs } from './card.ts'
import { type DatasetReference, locateDataset, pullDataset } from './dataset.ts'
import { chooseSplit } from './datasetFiles.ts'
import { type HubSettings, hubSettings } from './settings.ts'

const repo = 'datasets/someone/stories'
const text = (value: string): Buffer => Buffer.from(value)
const fixture = (name: string): Buffer =>
  readFileSync(new URL(`../../../test/fixtures/data/${name}.parquet`, import.meta.url))
const [parquet, other] = [fixture('zstd'), fixture('lz4_raw')]
const parts = [0, 1].map((part) => `data/train-0000${part}-of-00002.parquet`)
const files = {
  'README.md': text('# Stories'),
  [parts[0]!]: parquet,
  [parts[1]!]: other,
  'data/test-00000-of-00001.parquet': parquet,
  'extra.jsonl': text('{"a":1}\n'),
}

let cache: string
let server: HubServer
beforeEach(async () => {
  cache = mkdtempSync(join(tmpdir(), 'glossa-hub-'))
  server = await HubServer.start()
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(cache, { recursive: true })
})

const settings = (more: Partial<HubSettings> = {}): HubSettings => ({
  ...hubSettings({ HF_ENDPOINT: server.endpoint, HF_HUB_CACHE: cache, HF_TOKEN_PATH: join(cache, 'token') }),
  retryMs: 1,
  ...more,
})
const locate = (more: Partial<DatasetReference> = {}, changed?: Partial<HubSettings>) =>
  locateDataset({ repo: 'someone/stories', ...more }, settings(changed))
const inCache = (...path: string[]): string => join(cache, 'datasets--someone--stories', ...path)

describe('a split', () => {
  test('is fetched into the folder of huggingface_hub, and found there', async () => {
    const commit = server.commit(repo, files)
    const located = await locate()
    expect(located).toEqual({ folder: inCache('snapshots', commit), commit, files: parts })
    expect(server.asked[0]!.path).toBe('/api/datasets/someone/stories/revision/main?blobs=true')
    expect(server.filesAsked().sort()).toEqual(['README.md', ...parts])
    expect(readFileSync(inCache('refs', 'main'), 'utf8')).toBe(commit)
    expect(readdirSync(join(located.folder, 'data')).map((name) => `data/${name}`)).toEqual(parts)
    expect(await locate()).toEqual(located)
    expect(await locate({}, { offline: true })).toEqual(located)
    expect(server.asked).toEqual([])
  })

  test('stays as it is when the hub has a newer one, until it is pulled', async () => {
    const { commit } = { commit: server.commit(repo, files) }
    await locate()
    const newer = server.commit(repo, { ...files, 'README.md': text('# New') })
    expect((await locate()).commit).toBe(commit)
    expect((await pullDataset({ repo: 'someone/stories' }, settings())).commit).toBe(newer)
    expect((await locate()).commit).toBe(newer)
    expect((await locate({ revision: commit })).commit).toBe(commit)
  })

  test('another one is fetched when it is asked for; offline its lack is an error', async () => {
    server.commit(repo, files)
    await locate()
    await expect(locate({ split: 'test' }, { offline: true })).rejects.toThrow(
      'test-00000-of-00001.parquet is missing, and HF_HUB_OFFLINE is set',
    )
    expect((await locate({ split: 'test' })).files).toEqual(['data/test-00000-of-00001.parquet'])
    expect((await locate({ files: ['*.jsonl'] })).files).toEqual(['extra.jsonl'])
    await expect(locate({ split: 'validation' })).rejects.toThrow(
      "has no split 'validation'; there are: test, train",
    )
    await expect(locate({ repo: 'someone/other' }, { offline: true })).rejects.toThrow('is not in the cache')
    await expect(locate({ repo: 'someone/other' })).rejects.toThrow('has no datasets/someone/other (401)')
  })

  test('that was cut off is not used, and goes on', async () => {
    server.commit(repo, { ...files, [parts[1]!]: Buffer.concat([parquet, text('more')]) })
    server.cuts.push(...Array(40).fill(0))
    await expect(locate()).rejects.toThrow()
    server.cuts.splice(0)
    expect(existsSync(inCache('refs'))).toBe(false)
    await expect(locate({}, { offline: true })).rejects.toThrow('is not in the cache')
    expect((await locate()).files).toEqual(parts)
  })

  test('of a snapshot by another program is used if it is surely whole', async () => {
    const commit = 'a'.repeat(40)
    const put = (path: string, content: Buffer): void => {
      mkdirSync(dirname(inCache(path)), { recursive: true })
      writeFileSync(inCache(path), content)
    }
    put('refs/main', text(commit))
    put(`snapshots/${commit}/${parts[0]}`, parquet)
    await expect(locate({}, { offline: true })).rejects.toThrow('train-00001-of-00002.parquet is missing')
    put(`snapshots/${commit}/${parts[1]}`, parquet)
    expect((await locate({}, { offline: true })).files).toEqual(parts)
    put(`snapshots/${commit}/extra.jsonl`, text('{}'))
    await expect(locate({ files: ['*.jsonl'] }, { offline: true })).rejects.toThrow(
      'does not say whether it has all files',
    )
  })
})

describe('which files', () => {
  const choose = (paths: string[], choice = {}, card?: string) => chooseSplit('r', paths, card, choice)

  test('by words in names, best kind first', () => {
    expect(choose(['b.csv', 'a.jsonl', 'c.jsonl', 'dataset_infos.json'])).toEqual(['a.jsonl', 'c.jsonl'])
    const paths = ['my_train.jsonl', 'dev.jsonl', 'x/test/0.jsonl', 'trainer.jsonl']
    expect(choose(paths)).toEqual(['my_train.jsonl'])
    expect(choose(paths, { split: 'validation' })).toEqual(['dev.jsonl'])
    expect(choose(paths, { split: 'test' })).toEqual(['x/test/0.jsonl'])
    const partial = ['default/partial-train/0000.parquet']
    expect(() => choose(partial, { config: 'default' })).toThrow("no split 'train'; there are: partial-train")
    expect(choose(partial, { config: 'default', split: 'partial-train' })).toEqual(partial)
    expect(() => choose(['model.bin'])).toThrow('no files of data that are read here. There are: model.bin')
    expect(() => choose(['../a.jsonl'])).toThrow('is not a name that a file can have here')
  })

  test('of one table', () => {
    const paths = ['en/train/0000.parquet', 'de/train/0000.parquet', 'de/test/0000.parquet']
    expect(() => choose(paths)).toThrow('several tables, in the folders de, en: name one as config')
    expect(choose(paths, { config: 'de' })).toEqual(['de/train/0000.parquet'])
    expect(() => choose(paths, { config: 'fr' })).toThrow("no folder for a config 'fr'")
  })

  const card = [
    '---',
    'license: mit',
    'dataset_info:',
    '- config_name: de',
    'configs:',
    '- config_name: de  # German',
    '  data_files:',
    '  - split: train',
    "    path: 'de/a-*'",
    '  - split: test',
    '    path:',
    '    - de/b.parquet',
    '    - "de/c.parquet"',
    '- config_name: en',
    '  default: true',
    '  data_files:',
    '    train: [en/a.parquet, en/b.parquet]',
    '- config_name: fr',
    '  data_dir: fr',
    '  data_files: "*.parquet"',
    'tags:',
    '- x',
    '---',
    '# Card',
  ].join('\n')

  test('as the card says', () => {
    const paths = [
      'de/a-1',
      'de/b.parquet',
      'de/c.parquet',
      'en/a.parquet',
      'en/b.parquet',
      'en/c.parquet',
      'fr/x.parquet',
    ]
    expect(choose(paths, {}, card)).toEqual(['en/a.parquet', 'en/b.parquet'])
    expect(choose(paths, { config: 'de' }, card)).toEqual(['de/a-1'])
    expect(choose(paths, { config: 'de', split: 'test' }, card)).toEqual(['de/b.parquet', 'de/c.parquet'])
    expect(choose(paths, { config: 'fr' }, card)).toEqual(['fr/x.parquet'])
    expect(() => choose(paths, { config: 'es' }, card)).toThrow("has no config 'es'; name one of: de, en, fr")
    expect(() => choose(paths, { split: 'dev' }, card)).toThrow(
      "no split 'dev' in its config 'en'; there are: train",
    )
    expect(choose(['train.csv'], {}, '---\nlicense: mit\n---\n')).toEqual(['train.csv'])
  })

  test('a card with more than is understood is an error with a way out', () => {
    const bad = (configs: string) => () => cardConfigs('r', `---\nconfigs:\n${configs}\n---\n`)
    expect(bad('- config_name: &x a\n  data_files: *x')).toThrow("'&x a' is not understood): name the files")
    expect(bad('- data_files: a')).toThrow('one has no config_name')
    expect(bad('  a\n  - b')).toThrow('cannot be used')
    expect(bad('- config_name: a\n  data_files: |\n    b')).toThrow('not understood')
    expect(bad('- config_name: a\n    data_files: b')).toThrow('cannot be used')
  })
})
