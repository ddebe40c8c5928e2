import { spawn } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { etagOf, HubServer, sha256 } from '../../../test/hubServer.ts'
import { FileError } from '../source.ts'
import { findCached } from './cached.ts'
import { HubError } from './errors.ts'
import { type PullOptions, pull } from './pull.ts'
import { parseReference } from './reference.ts'
import { type HubSettings, hubSettings } from './settings.ts'

const repo = 'someone/tiny'
/** Bytes that tell where they are. */
const weights = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255))
const text = (value: string): Buffer => Buffer.from(value)
const files = {
  '.gitattributes': text('*.safetensors filter=lfs'),
  'README.md': text('# tiny'),
  'config.json': text('{"model_type":"llama"}'),
  'tokenizer.json': text('{}'),
  'pytorch_model.bin': text('PK'),
  'model.safetensors': weights,
}
const wanted = ['config.json', 'model.safetensors', 'tokenizer.json']

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
const fetchModel = (name = repo, options?: PullOptions, more?: Partial<HubSettings>) =>
  pull(parseReference(name)!, settings(more), options)
const inCache = (...path: string[]): string => join(cache, 'models--someone--tiny', ...path)
const blobs = (): string[] => readdirSync(inCache('blobs')).sort()

describe('the layout', () => {
  test('blobs by etag, relative links, refs, what is known not to exist', async () => {
    const commit = server.commit(repo, files)
    const { path, fetched } = await fetchModel()
    expect(path).toBe(inCache('snapshots', commit))
    expect(readdirSync(path).sort()).toEqual(wanted)
    expect(fetched.map((file) => file.path).sort()).toEqual(wanted)
    expect(blobs()).toEqual(wanted.map((name) => etagOf(name, files[name as 'config.json'])).sort())
    expect(readlinkSync(join(path, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256(weights)))
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
    expect(readFileSync(inCache('refs', 'main'), 'utf8')).toBe(commit)
    expect(existsSync(inCache('.no_exist', commit, 'generation_config.json'))).toBe(true)
    expect(existsSync(inCache('.no_exist', commit, 'config.json'))).toBe(false)
    expect(readFileSync(join(cache, 'CACHEDIR.TAG'), 'utf8')).toContain(
      'Signature: 8a477f597d28d172789f06886806bc55',
    )
    expect(findCached(parseReference(repo)!, settings())).toEqual({ path, commit })
  })

  test('a second pull asks for no files; a new commit fetches what has changed', async () => {
    server.commit(repo, files)
    await fetchModel()
    expect(server.filesAsked()).toHaveLength(3)
    const { fetched } = await fetchModel()
    expect(fetched).toEqual([])
    expect(server.filesAsked()).toEqual([])
    const commit = server.commit(repo, { ...files, 'config.json': text('{"model_type":"gpt2"}') })
    const { path } = await fetchModel()
    expect(server.filesAsked()).toEqual(['config.json'])
    expect(readFileSync(inCache('refs', 'main'), 'utf8')).toBe(commit)
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
  })

  test('branches, tags and commits', async () => {
    const old = server.commit(repo, files, 'refs/pr/1')
    server.commit(repo, { ...files, 'tokenizer.json': text('[]') })
    expect((await fetchModel(`${repo}@refs/pr/1`)).commit).toBe(old)
    expect(readFileSync(inCache('refs', 'refs', 'pr', '1'), 'utf8')).toBe(old)
    expect((await fetchModel(`${repo}@${old}`)).fetched).toEqual([])
    expect((await fetchModel()).fetched.map(({ path }) => path)).toEqual(['tokenizer.json'])
  })

  test('plain files without links', async () => {
    server.commit(repo, files)
    const { path } = await fetchModel(repo, {}, { symlinks: false })
    for (const name of wanted) expect(lstatSync(join(path, name)).isFile()).toBe(true)
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
    expect(blobs()).toEqual([])
    expect((await fetchModel(repo, {}, { symlinks: false })).fetched).toEqual([])
  })

  test('the files that an index names, and no others', async () => {
    const [a, b] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    const index = text(JSON.stringify({ weight_map: { x: a, y: b } }))
    const more = { 'consolidated.safetensors': weights, [a]: text('first'), [b]: text('second') }
    const { 'model.safetensors': _, ...rest } = files
    server.commit(repo, { ...rest, ...more, 'model.safetensors.index.json': index })
    const { path, fetched } = await fetchModel()
    expect(readdirSync(path).sort()).toEqual([
      'config.json',
      a,
      b,
      'model.safetensors.index.json',
      'tokenizer.json',
    ])
    expect(fetched).toHaveLength(5)
    rmSync(join(path, b))
    expect(findCached(parseReference(repo)!, settings())).toEqual({ problem: `${join(path, b)} is missing` })
    rmSync(inCache('blobs', sha256(more[a]!)))
    expect(findCached(parseReference(repo)!, settings())).toEqual({
      problem: `${join(path, a)} is a link to a blob that is not there`,
    })
    expect((await fetchModel()).fetched.map((file) => file.path)).toEqual([a])
  })

  test('one GGUF file of several', async () => {
    const quants = {
      'tiny-Q4_0.gguf': text('four'),
      'tiny-IQ4_0.gguf': text('i'),
      'tiny-Q8_0.gguf': text('eight'),
      'tiny-F16-00001-of-00002.gguf': text('one'),
      'tiny-F16-00002-of-00002.gguf': text('two'),
    }
    const commit = server.commit(repo, quants)
    await expect(fetchModel()).rejects.toThrow(/several \.gguf files.*tiny-Q8_0\.gguf/)
    await expect(fetchModel(`${repo}:Q5_K`)).rejects.toThrow("no .gguf files with 'Q5_K' in the name")
    await expect(fetchModel(`${repo}:F16`)).rejects.toThrow('is a part of a split file')
    const { path } = await fetchModel(`${repo}:q4_0`)
    expect(path).toBe(inCache('snapshots', commit, 'tiny-Q4_0.gguf'))
    expect(findCached(parseReference(`${repo}:Q4_0`)!, settings())).toEqual({ path, commit })
    expect((await fetchModel(repo, { file: 'tiny-Q8_0.gguf' })).path).toMatch(/tiny-Q8_0\.gguf$/)
    expect(findCached(parseReference(repo)!, settings())).toHaveProperty(
      'problem',
      expect.stringMatching(/several/),
    )
  })
})

describe('faults of the network', () => {
  test('cut connections are resumed', async () => {
    server.commit(repo, files)
    server.cuts.push(70_000, 80_000, 90_000)
    const { path } = await fetchModel()
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
    const ranges = server.askedStorage.map(({ range }) => range)
    expect(ranges[0]).toBeUndefined()
    expect(ranges.length).toBeGreaterThanOrEqual(4)
    for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d*-$/)
  })

  test('also by a server that knows no ranges', async () => {
    server.commit(repo, files)
    server.ranges = false
    server.cuts.push(200_000)
    const { path } = await fetchModel()
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
  })

  test('a listing without sizes and hashes is completed by the headers', async () => {
    server.commit(repo, files)
    server.blobs = false
    const { path } = await fetchModel()
    expect(blobs()).toEqual(wanted.map((name) => etagOf(name, files[name as 'config.json'])).sort())
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
  })

  test('a wrong byte: an error, and nothing is left', async () => {
    server.commit(repo, files)
    server.tamper = (content) => {
      const wrong = Buffer.from(content)
      wrong[1234]! ^= 1
      return wrong
    }
    await expect(fetchModel()).rejects.toThrow('model.safetensors of someone/tiny came damaged')
    expect(blobs()).not.toContain(sha256(weights))
    expect(blobs().join()).not.toContain('incomplete')
    expect(existsSync(inCache('snapshots'))).toBe(false)
    expect(findCached(parseReference(repo)!, settings())).toHaveProperty('problem')
  })

  test('a part of an earlier run is used, and started over if it turns out damaged', async () => {
    server.commit(repo, files)
    for (const [part, ranges] of [
      [weights.subarray(0, 100_000), ['bytes=100000-']],
      [Buffer.alloc(100_000), ['bytes=100000-', undefined]],
      [Buffer.alloc(400_000), [undefined]],
    ] as const) {
      rmSync(inCache(), { recursive: true, force: true })
      mkdirSync(inCache('blobs'), { recursive: true })
      writeFileSync(inCache('blobs', `${sha256(weights)}.incomplete`), part)
      const { path } = await fetchModel()
      expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
      expect(server.askedStorage.splice(0).map(({ range }) => range)).toEqual(ranges)
      expect(blobs().join()).not.toContain('incomplete')
    }
  })

  test('a silent server is given up', async () => {
    server.commit(repo, files)
    server.silent = true
    await expect(fetchModel(repo, {}, { silenceMs: 50 })).rejects.toThrow('nothing for 0.05 s')
    server.silent = false
    expect((await fetchModel()).fetched.map(({ path }) => path)).toEqual(['model.safetensors'])
  })

  test('stopping leaves what there is', async () => {
    server.commit(repo, files)
    server.slowness = 5
    const controller = new AbortController()
    const onProgress = (done: number): void => {
      if (done > 20_000) controller.abort()
    }
    await expect(fetchModel(repo, { signal: controller.signal, onProgress })).rejects.toThrow('aborted')
    server.slowness = 0
    server.askedStorage.splice(0)
    await fetchModel()
    expect(server.askedStorage[0]!.range).toMatch(/^bytes=\d{5,}-$/)
  })
})

describe('answers that are errors', () => {
  test.each<[what: string, path: RegExp, status: number, headers: Record<string, string>, message: RegExp]>([
    [
      'gated',
      /resolve/,
      401,
      { 'x-error-code': 'GatedRepo' },
      /accept its terms at http.*someone\/tiny and set HF_TOKEN/,
    ],
    ['closed', /resolve/, 403, {}, /\(403\): accept its terms/],
    ['gone', /resolve/, 404, { 'x-error-code': 'EntryNotFound' }, /someone\/tiny has no file \S+ \(404\)/],
    ['teapot', /api/, 418, {}, /answered 418 for someone\/tiny/],
    ['a wait that is too long', /api/, 429, { 'retry-after': '3600' }, /too many requests.*set HF_TOKEN/],
  ])('%s', async (_, path, status, headers, message) => {
    server.commit(repo, files)
    for (let i = 0; i < 4; i++) server.answers.push({ path, status, headers })
    const error = await fetchModel().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(HubError)
    expect((error as Error).message).toMatch(message)
  })

  test('a name that is not there, a revision that is not there', async () => {
    server.commit(repo, files)
    await expect(fetchModel('someone/else')).rejects.toThrow(
      /has no someone\/else \(401\).*private, set HF_TOKEN/,
    )
    await expect(fetchModel(`${repo}@v2`)).rejects.toThrow("someone/tiny has no revision 'v2'")
  })

  test('what passes is tried again, five times', async () => {
    server.commit(repo, files)
    server.answers.push(
      { path: /api/, status: 429 },
      { path: /api/, status: 503 },
      { path: /config/, status: 500 },
    )
    expect((await fetchModel()).fetched).toHaveLength(3)
    for (let i = 0; i < 6; i++) server.answers.push({ path: /api/, status: 503 })
    await expect(fetchModel()).rejects.toThrow('answered 503')
    expect(server.answers).toEqual([])
  })

  test('nobody there', async () => {
    const nobody = { endpoint: 'http://127.0.0.1:9' }
    await expect(fetchModel(repo, {}, nobody)).rejects.toThrow(
      /no connection to http:\/\/127\.0\.0\.1:9 \(.*HF_ENDPOINT/,
    )
  })

  test('pickles only', async () => {
    server.commit(repo, { 'config.json': text('{}'), 'pytorch_model.bin': text('PK') })
    await expect(fetchModel()).rejects.toThrow(
      /PyTorch pickles only.*M\.from_pretrained\('someone\/tiny'\)\.save_pre/,
    )
    expect(server.filesAsked()).toEqual([])
  })

  test('names that lead out of the snapshot', async () => {
    server.commit(repo, { '../../x.gguf': text('evil') })
    await expect(fetchModel()).rejects.toThrow('is not a name')
  })

  test('offline', async () => {
    await expect(fetchModel(repo, {}, { offline: true })).rejects.toThrow('HF_HUB_OFFLINE is set')
    expect(server.asked).toEqual([])
  })

  test('a cache that cannot be written', async () => {
    server.commit(repo, files)
    writeFileSync(inCache(), 'a file where a folder should be')
    await expect(fetchModel()).rejects.toThrow(FileError)
  })
})

test('the token is for the hub, not for where redirects lead', async () => {
  server.commit(repo, files)
  await fetchModel(repo, {}, { token: 'secret' })
  expect(server.asked.every(({ authorization }) => authorization === 'Bearer secret')).toBe(true)
  expect(server.askedStorage.map(({ authorization }) => authorization)).toEqual([undefined])
  rmSync(inCache(), { recursive: true })
  await expect(fetchModel(repo, {}, { token: 'wrong' })).rejects.toThrow('does not accept the token')
})

describe('several processes', () => {
  const script = `
    import { pull, hubSettings } from '${new URL('./index.ts', import.meta.url)}'
    const { path } = await pull({ repo: '${repo}', revision: 'main' }, hubSettings(process.env))
    console.log(path)`
  const start = () =>
    spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: fileURLToPath(new URL('../../../', import.meta.url)),
      env: { ...process.env, HF_ENDPOINT: server.endpoint, HF_HUB_CACHE: cache },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  const ended = (child: ReturnType<typeof start>) =>
    new Promise<number | string | null>((resolve) =>
      child.on('exit', (code, signal) => resolve(code ?? signal)),
    )

  test('what a killed one has left is used', async () => {
    server.commit(repo, files)
    server.slowness = 20
    const child = start()
    const end = ended(child)
    while (server.askedStorage.length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
    await new Promise((resolve) => setTimeout(resolve, 400))
    child.kill('SIGKILL')
    expect(await end).toBe('SIGKILL')
    expect(blobs().join()).toMatch(/\.incomplete/)
    server.slowness = 0
    server.askedStorage.splice(0)
    const { path } = await fetchModel()
    expect(server.askedStorage[0]!.range).toMatch(/^bytes=[1-9]\d*-$/)
    expect(weights.equals(readFileSync(join(path, 'model.safetensors')))).toBe(true)
    expect(blobs()).toHaveLength(3)
  })

  test('at the same time', async () => {
    server.commit(repo, files)
    server.slowness = 2
    const codes = await Promise.all([ended(start()), ended(start()), fetchModel().then(() => 0)])
    expect(codes).toEqual([0, 0, 0])
    const commit = readdirSync(inCache('snapshots'))[0]!
    expect(weights.equals(readFileSync(inCache('snapshots', commit, 'model.safetensors')))).toBe(true)
    expect(blobs()).toEqual(wanted.map((name) => etagOf(name, files[name as 'config.json'])).sort())
  })
})
