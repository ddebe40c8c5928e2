/** `glossa jobs`: generation, scores and features of many rows, in jobs that any machine's workers can take. */
import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { doUnit, parsePlan, Resources, type RunOptions, redisWorker, runJobs } from '../jobs/index.ts'
import { jsonOption } from './common.ts'
import { locateModel } from './hub.ts'
import { duration } from './stepBar.ts'
import { exitCode, interruptible, note, print, printJson, status, table } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

const text = z.string().min(1)

const options = z.strictObject({
  action: z.enum(['run', 'work']).describe("run does a plan; work takes the jobs of others' runs over Redis"),
  plan: text.optional().describe('run: a JSON file with the options below and more'),
  task: z.enum(['generate', 'score', 'features']).optional().describe('run: what is done with each row'),
  model: text
    .optional()
    .describe('run: a model as everywhere, or URL#NAME behind an OpenAI-compatible endpoint'),
  file: z
    .array(text)
    .min(1)
    .optional()
    .describe("run: rows with 'prompt', 'messages', 'text', or 'context' and 'continuation'"),
  sae: text.optional().describe("run: of the features; an SAE's folder"),
  maxTokens: z.int().positive().optional().describe('run: of a generated text'),
  temperature: z.number().min(0).optional(),
  samples: z.int().positive().optional().describe('run: texts of each prompt'),
  seed: z.int().nonnegative().optional(),
  unit: z.int().positive().optional().describe('run: rows of one job'),
  out: text.optional().describe("run: the run's folder"),
  resume: z.boolean().default(false).describe('run: go on with the run in the folder'),
  redis: text.optional().describe('redis://HOST:PORT; without it run does the jobs itself'),
  attempts: z.int().positive().default(3).describe('run: times that a job is tried'),
  concurrency: z.int().positive().default(1).describe('work: jobs at once'),
  lock: z
    .number()
    .positive()
    .default(30)
    .describe("work: seconds of silence after which a worker's job is another's"),
  apiKey: text.optional().describe('Of endpoints; GLOSSA_API_KEY too'),
  threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
  json: jsonOption,
})

export default verb({
  name: 'jobs',
  summary: 'Generate, score or extract features of many rows, over workers on any machine',
  options,
  argument: 'action',
  flags: {
    action: { value: 'run|work' },
    plan: { value: 'PLAN.json' },
    model: { short: 'm', value: 'MODEL' },
    file: { short: 'f', value: 'FILE' },
    out: { short: 'o', value: 'FOLDER' },
    maxTokens: { short: 'n' },
    temperature: { also: ['temp'] },
    sae: { value: 'FOLDER' },
    redis: { value: 'URL' },
    apiKey: { value: 'KEY' },
  },
  notes: `The run's folder gets units/ (a file for every job that is done) and results.jsonl at the end: a line for every row, in their
order, whoever has done it. A run that was killed goes on with --resume. Workers: glossa jobs work --redis URL, on any machine that
has the model under the same name; docs/jobs.md.`,
  async run(given) {
    const apiKey = given.apiKey ?? process.env.GLOSSA_API_KEY
    const settings = { locate: locateModel, threads: given.threads, apiKey }
    return given.action === 'work' ? work(given, settings) : run(given, settings)
  },
})

type Given = z.output<typeof options>
type Settings = Pick<RunOptions, 'locate' | 'threads' | 'apiKey'>

async function run(given: Given, settings: Settings): Promise<number> {
  const {
    plan: file,
    task,
    model,
    file: data,
    sae,
    maxTokens,
    temperature,
    samples,
    seed,
    unit,
    json,
  } = given
  const flags = { task, model, data, sae, maxTokens, temperature, samples, seed, unit }
  const set = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
  const plan = parsePlan({ ...(file && (JSON.parse(readFileSync(file, 'utf8')) as object)), ...set })
  if (!given.out) throw new UsageError('jobs run needs a folder for what it finds: -o FOLDER')
  const began = performance.now()
  let first: number | undefined
  const { ended, code } = await interruptible(async (signal) => ({
    ended: await runJobs(plan, {
      ...settings,
      ...{ folder: given.out!, resume: given.resume, attempts: given.attempts, signal },
      ...(given.redis && { redis: { url: given.redis } }),
      onProgress: (done, total) => {
        first ??= done
        const seconds = (performance.now() - began) / 1000
        const left = done > first ? (seconds / (done - first)) * (total - done) : undefined
        if (!json) status(`${done} of ${total} jobs${left === undefined ? '' : `, ${duration(left)} left`}`)
      },
      onNote: (line) => note(line),
    }),
    code: exitCode(signal),
  }))
  if (json) printJson(ended)
  else
    print(
      table([
        ['end', ended.end],
        ['jobs', `${ended.done} of ${ended.total}`],
        ['time', duration((performance.now() - began) / 1000)],
        ...Object.entries(ended.failed)
          .slice(0, 5)
          .map(([index, reason]) => [`job ${index}`, reason]),
        ...(ended.results ? [['results', ended.results]] : [['go on', `the same with --resume`]]),
      ]),
    )
  return ended.end === 'failed' ? 1 : code
}

async function work({ redis, concurrency, lock, json }: Given, settings: Settings): Promise<number> {
  if (!redis) throw new UsageError('jobs work needs --redis URL: where the jobs are')
  const resources = new Resources(settings)
  let done = 0
  const worker = await redisWorker({ url: redis }, (plan, unit) => doUnit(plan, unit, resources), {
    ...{ concurrency, lock: 1000 * lock },
    onDone: () => {
      done++
      if (!json) status(`${done} jobs done`)
    },
    onError: (line) => note(line),
  })
  note(`waiting for jobs at ${redis}; Ctrl-C lets those that run end`)
  const code = await interruptible(async (signal) => {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      signal.addEventListener('abort', () => resolve())
      process.once('SIGTERM', () => resolve())
    })
    await worker.close()
    await resources.close()
    return exitCode(signal)
  })
  if (json) printJson({ done })
  return code
}
