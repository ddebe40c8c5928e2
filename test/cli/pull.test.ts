import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HubServer } from '../hubServer.ts'
import { finish, glossa, llamaTiny, type Result, start } from './glossa.ts'

const tokens = ['--tokens', '3,17,42', '-n', '5', '--temp', '0']
const repo = 'someone/tiny'
const starter = 'models/starter'
const read = (folder: string) => (name: string) => [name, readFileSync(join(folder, name))]
const files = Object.fromEntries(['config.json', 'model.safetensors'].map(read(llamaTiny)))

let server: HubServer
let cache: string
beforeAll(async () => {
  server = await HubServer.start()
  server.commit(repo, files)
  server.commit('someone/starter', Object.fromEntries(readdirSync(starter).map(read(starter))))
  server.commit('someone/pickle', { 'pytorch_model.bin': Buffer.from('PK') })
})
afterAll(() => server[Symbol.asyncDispose]())
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'glossa-pull-'))
  return () => rmSync(cache, { recursive: true })
})

const variables = (more: Record<string, string> = {}) => ({
  HF_ENDPOINT: server.endpoint,
  HF_HUB_CACHE: cache,
  HF_TOKEN_PATH: join(cache, 'none'),
  ...more,
})
const run = (args: readonly string[], more?: Record<string, string>): Promise<Result> =>
  finish(start(args, variables(more)))
const error = ({ stderr, code }: Result): [string, number | string | null] => [stderr.trimEnd(), code]

describe('glossa pull', () => {
  it('shows the path, and costs nothing the second time', async () => {
    const first = await run(['pull', repo])
    expect(first).toMatchObject({ code: 0, stderr: expect.stringMatching(/^fetched 2 files, [\d.,]+ kB\n$/) })
    const path = first.stdout.trimEnd()
    expect(path.startsWith(join(cache, 'models--someone--tiny/snapshots'))).toBe(true)
    expect(readdirSync(path).sort()).toEqual(['config.json', 'model.safetensors'])
    server.filesAsked()
    expect(await run(['pull', repo])).toEqual({ stdout: `${path}\n`, stderr: 'all there already\n', code: 0 })
    expect(server.filesAsked()).toEqual([])
    const { stdout } = await run(['pull', repo, '--json'], { HF_HUB_OFFLINE: '1' })
    expect(JSON.parse(stdout)).toMatchObject({ repo, revision: 'main', path, fetched: [], fetchedBytes: 0 })
  })

  it('goes on after Ctrl-C', async () => {
    server.slowness = 50
    server.askedStorage.splice(0)
    const child = start(['pull', repo], variables())
    const result = finish(child)
    while (server.askedStorage.length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
    await new Promise((resolve) => setTimeout(resolve, 300))
    child.kill('SIGINT')
    expect(error(await result)).toEqual([
      'glossa: stopped; what has come is kept: the same command goes on from there',
      130,
    ])
    server.slowness = 0
    expect((await run(['pull', repo])).code).toBe(0)
    expect(server.askedStorage.at(-1)!.range).toMatch(/^bytes=[1-9]\d*-$/)
  })

  it.each<[args: string[], code: number, message: RegExp, env?: Record<string, string>]>([
    [[], 2, /missing required argument 'MODEL'/],
    [['tiny'], 2, /MODEL tiny: must be org\/name/],
    [[repo, '--revision', '../x'], 2, /--revision \.\.\/x/],
    [[`${repo}:Q4_0`, '--file', 'x'], 2, /exclude each other/],
    [[repo, '--revision', 'v2'], 1, /someone\/tiny has no revision 'v2'/],
    [[repo, '--file', 'x.gguf'], 1, /has no file 'x\.gguf'\. There are: config\.json, model\.safetensors/],
    [['someone/nothing'], 1, /has no someone\/nothing \(401\).*set HF_TOKEN/],
    [['someone/pickle'], 1, /PyTorch pickles only.*python -c/],
    [[repo], 1, /is not in the cache .*HF_HUB_OFFLINE is set/, { HF_HUB_OFFLINE: '1' }],
    [[repo], 1, /^glossa: HF_ENDPOINT is 'nowhere'/, { HF_ENDPOINT: 'nowhere' }],
  ])('%j', async (args, code, message, env = {}) => {
    const result = await run(['pull', ...args], env)
    expect(error(result)).toEqual([expect.stringMatching(message), code])
    expect(result.stderr).toMatch(/^glossa: [^\n]+\n$/)
  })
})

describe('ids where paths go', () => {
  it('a model that is not there is pulled; one that is needs no hub', async () => {
    const local = await glossa('generate', '-m', llamaTiny, ...tokens)
    const pulled = await run(['generate', '-m', repo, ...tokens])
    expect(pulled).toMatchObject({ stdout: local.stdout, code: 0 })
    server.asked.splice(0)
    for (const args of [
      ['generate', '-m', repo, ...tokens],
      ['score', '-m', repo, '--tokens', '3,17,42'],
      ['inspect', '-m', repo],
      ['export', '-m', repo, '-o', join(cache, 'tiny.onnx')],
    ])
      expect(await run(args, { HF_HUB_OFFLINE: '1' })).toMatchObject({ code: 0 })
    expect(server.asked).toEqual([])
  })

  it('with its tokenizer', async () => {
    const prompt = ['-p', 'Once upon a time', '-n', '8', '--temp', '0']
    const { stdout } = await glossa('generate', '-m', starter, ...prompt)
    expect(stdout).toMatch(/^Once upon a time\S* \w+/)
    expect(await run(['generate', '-m', 'someone/starter', ...prompt])).toMatchObject({ stdout, code: 0 })
  })

  it('a path that exists wins', async () => {
    const child = start(['inspect', '-m', 'test/fixtures'], variables())
    expect(error(await finish(child))[0]).toMatch(/neither model\.safetensors nor/)
  })

  it('offline, half a model is refused by name', async () => {
    const { stdout } = await run(['pull', repo])
    const file = join(stdout.trimEnd(), 'model.safetensors')
    const blobs = join(cache, 'models--someone--tiny/blobs')
    for (const name of readdirSync(blobs)) if (name.length === 64) rmSync(join(blobs, name))
    const offline = await run(['generate', '-m', repo, ...tokens], { HF_HUB_OFFLINE: '1' })
    expect(error(offline)).toEqual([
      `glossa: ${file} is a link to a blob that is not there, and HF_HUB_OFFLINE is set: unset it, then glossa pull ${repo}`,
      1,
    ])
    const byPath = await run(['generate', '-m', stdout.trimEnd(), ...tokens])
    expect(error(byPath)[0]).toMatch(/model\.safetensors: .*is a link to a file that is not there/)
    expect((await run(['generate', '-m', repo, ...tokens])).code).toBe(0)
  })

  it('what is neither here nor there', async () => {
    const result = await run(['generate', '-m', 'someone/nothing', ...tokens])
    expect(error(result)).toEqual([
      expect.stringMatching(
        /^glossa: there is no file or folder someone\/nothing, and from the hub: .*\(401\)/,
      ),
      1,
    ])
  })

  it('a folder with a pickle only', async () => {
    const folder = join(cache, 'pickle')
    mkdirSync(folder)
    writeFileSync(join(folder, 'pytorch_model.bin'), 'PK')
    const result = await run(['generate', '-m', folder, ...tokens])
    expect(error(result)).toEqual([expect.stringMatching(/is a PyTorch pickle.*convert it: python -c/), 1])
  })
})
