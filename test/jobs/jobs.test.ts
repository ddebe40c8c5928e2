/** Runs of jobs on real models: here, and over a real Redis whose workers and server are killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { parsePlan, runJobs } from '../../src/jobs/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import { sharedTopK } from './sae.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-jobs-'))
const running: ChildProcess[] = []
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const model = bundledModel('tiny')!
const locate = async (name: string): Promise<string> => name
const rows = Array.from({ length: 40 }, (_, i) => ({
  prompt: `Story ${i}: the ${['cat', 'dog', 'bird'][i % 3]} saw`,
  text: `A ${i} of them.`,
}))
const data = join(folder, 'rows.jsonl')
writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

let runs = 0
const fresh = (): string => join(folder, `run-${runs++}`)
const lines = (file: string): { row: number; [key: string]: unknown }[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

const generate = parsePlan({ task: 'generate', model, data, unit: 4, maxTokens: 12, seed: 3, samples: 2 })

describe('in this process', () => {
  it('gives a line for every row, whatever the size of a job', async () => {
    const first = await runJobs(generate, { folder: fresh(), locate, threads: 1 })
    expect(first).toMatchObject({ end: 'done', total: 10, done: 10, failed: {} })
    const found = lines(first.results!)
    expect(found.map(({ row }) => row)).toEqual(rows.map((_, i) => i))
    expect((found[0]!.completions as object[]).length).toBe(2)
    const second = await runJobs(parsePlan({ ...generate, unit: 7 }), { folder: fresh(), locate, threads: 1 })
    expect(readFileSync(second.results!)).toEqual(readFileSync(first.results!))
  })

  it('scores texts and continuations', async () => {
    const file = join(folder, 'pairs.jsonl')
    writeFileSync(file, '{"text":"A dog ran."}\n{"context":"A dog","continuation":" ran."}\n')
    const { results } = await runJobs(parsePlan({ task: 'score', model, data: file }), {
      folder: fresh(),
      locate,
      threads: 1,
    })
    const [whole, part] = lines(results!) as unknown as { logprob: number; tokens: number; bytes: number }[]
    expect(whole!.bytes).toBe(10)
    expect(part!.tokens).toBeLessThan(whole!.tokens)
    expect(part!.logprob).toBeGreaterThan(whole!.logprob)
  })

  it('extracts features of an SAE', async () => {
    const plan = parsePlan({ task: 'features', model, data, sae: sharedTopK(join(folder, 'sae')), top: 3 })
    const { results } = await runJobs(plan, { folder: fresh(), locate, threads: 1 })
    const [first] = lines(results!) as unknown as {
      features: { feature: number; activation: number }[][]
    }[]
    expect(first!.features.length).toBeGreaterThan(4)
    for (const token of first!.features) {
      expect(token.length).toBeLessThanOrEqual(3)
      expect(token.map(({ activation }) => activation)).toEqual(
        token.map(({ activation }) => activation).sort((a, b) => b - a),
      )
    }
  })

  it('goes on where it was stopped, and never does a job twice', async () => {
    const out = fresh()
    const controller = new AbortController()
    const stopped = await runJobs(generate, {
      ...{ folder: out, locate, threads: 1, signal: controller.signal },
      onProgress: (done) => done >= 4 && controller.abort(),
    })
    expect(stopped.end).toBe('interrupted')
    const units = join(out, 'units')
    const before = new Map(readdirSync(units).map((name) => [name, readFileSync(join(units, name), 'utf8')]))
    expect(before.size).toBeGreaterThanOrEqual(4)
    await expect(runJobs(generate, { folder: out, locate })).rejects.toThrow(/--resume/)
    await expect(
      runJobs(parsePlan({ ...generate, seed: 4 }), { folder: out, locate, resume: true }),
    ).rejects.toThrow(/another plan/)
    const ended = await runJobs(generate, { folder: out, locate, threads: 1, resume: true })
    expect(ended.end).toBe('done')
    for (const [name, text] of before) expect(readFileSync(join(units, name), 'utf8')).toBe(text)
    const whole = await runJobs(generate, { folder: fresh(), locate, threads: 1 })
    expect(readFileSync(ended.results!)).toEqual(readFileSync(whole.results!))
  })

  it('says which job has failed and why', async () => {
    const file = join(folder, 'odd.jsonl')
    writeFileSync(file, '{"text":"A"}\n{"txt":"B"}\n{"text":"C"}\n')
    const out = fresh()
    const ended = await runJobs(parsePlan({ task: 'score', model, data: file, unit: 1 }), {
      folder: out,
      locate,
      attempts: 2,
    })
    expect(ended).toMatchObject({ end: 'failed', done: 2, failed: { 1: "row 1 has no text 'text'" } })
    expect(JSON.parse(readFileSync(join(out, 'failed.json'), 'utf8'))).toEqual({
      1: "row 1 has no text 'text'",
    })
    expect(() => parsePlan({ task: 'score', model, data, sead: 1 })).toThrow(/sead/)
    await expect(
      runJobs(parsePlan({ task: 'score', model: 'http://x/v1', data }), {
        folder: fresh(),
        locate,
        attempts: 1,
      }),
    ).resolves.toMatchObject({
      end: 'failed',
      failed: { 0: expect.stringMatching(/URL#NAME/) },
    })
  })
})

const hasRedis = await new Promise<boolean>((resolve) => {
  spawn('redis-server', ['--version'])
    .on('error', () => resolve(false))
    .on('exit', (code) => resolve(code === 0))
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}

async function startRedis(port: number, keep: boolean): Promise<ChildProcess> {
  const save = keep ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--save', '']
  const redis = spawn('redis-server', ['--port', `${port}`, '--dir', folder, ...save])
  running.push(redis)
  await new Promise<void>((resolve, reject) => {
    redis.stdout!.on('data', (text: Buffer) => /Ready to accept/.test(`${text}`) && resolve())
    redis.on('exit', (code) => reject(new Error(`redis-server ended with ${code}`)))
  })
  return redis
}

/** A worker as people start it. */
function startWorker(port: number): ChildProcess {
  const worker = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      'src/cli/main.ts',
      'jobs',
      'work',
      '--redis',
      `redis://127.0.0.1:${port}`,
      '--lock',
      '2',
      '--threads',
      '1',
    ],
    { stdio: 'ignore' },
  )
  running.push(worker)
  return worker
}

describe.skipIf(!hasRedis)('over Redis', { timeout: 180_000 }, () => {
  it.each([
    ['keeps its data', true],
    ['has lost its data', false],
  ])(
    'survives killed workers and a Redis that %s, with the results of an undisturbed run',
    async (_, keep) => {
      const port = await freePort()
      let redis = await startRedis(port, keep)
      let workers = [startWorker(port), startWorker(port)]
      const counts: number[] = []
      let disturbed = 0
      const ended = await runJobs(parsePlan({ ...generate, unit: 1 }), {
        ...{ folder: fresh(), locate, redis: { url: `redis://127.0.0.1:${port}` } },
        onProgress: (done) => {
          counts.push(done)
          if (done >= 5 && disturbed === 0) {
            disturbed = 1
            // In the middle of their jobs.
            for (const worker of workers) worker.kill('SIGKILL')
            workers = [startWorker(port)]
          }
          if (done >= 15 && disturbed === 1) {
            disturbed = 2
            redis.kill('SIGKILL')
            redis.once('exit', async () => {
              redis = await startRedis(port, keep)
            })
          }
        },
      })
      expect([ended.end, ended.done, disturbed]).toEqual(['done', 40, 2])
      expect(counts).toEqual([...counts].sort((a, b) => a - b))
      const alone = await runJobs(generate, { folder: fresh(), locate, threads: 1 })
      expect(readFileSync(ended.results!)).toEqual(readFileSync(alone.results!))
    },
  )

  it('tries a job again, and tells when it has failed for good', async () => {
    const port = await freePort()
    await startRedis(port, false)
    startWorker(port)
    const file = join(folder, 'bad.jsonl')
    writeFileSync(file, '{"text":"A dog."}\n{"txt":"B"}\n')
    const out = fresh()
    const plan = parsePlan({ task: 'score', model, data: file, unit: 1 })
    const redis = { url: `redis://127.0.0.1:${port}` }
    const ended = await runJobs(plan, { folder: out, locate, redis, attempts: 2 })
    expect(ended).toMatchObject({ end: 'failed', done: 1, failed: { 1: "row 1 has no text 'text'" } })
    writeFileSync(file, '{"text":"A dog."}\n{"text":"B"}\n')
    expect(await runJobs(plan, { folder: out, locate, redis, resume: true })).toMatchObject({
      end: 'done',
      done: 2,
    })
  })
})
