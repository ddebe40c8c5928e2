/**
 * Jobs over Redis, with BullMQ: workers on any machine take them, and what they find comes back through a hash of the run,
 * whose fields are set once. A worker that dies loses its lock, and its job is taken by another one. The coordinator
 * knows from its folder what is missing, and adds that again whenever Redis does not know it: so a run survives a
 * restarted Redis, with its data or without.
 */
import type { Job, Queue, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Outcome, Plan, Unit } from './plan.ts'

/** What a job carries. */
interface JobData {
  readonly run: string
  readonly plan: Plan
  readonly unit: Unit
}

export interface RedisOptions {
  /** `redis://host:port`. */
  readonly url: string
  /** Names of queues begin with it (default 'glossa'). */
  readonly prefix?: string | undefined
}

const queueName = 'jobs'

async function packages(): Promise<{ bull: typeof import('bullmq'); Redis: typeof import('ioredis').Redis }> {
  try {
    const [bull, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')])
    return { bull, Redis }
  } catch (cause) {
    throw new Error("jobs over Redis need the packages 'bullmq' and 'ioredis': npm install bullmq ioredis", {
      cause,
    })
  }
}

const hashOf = (run: string): string => `glossa:results:${run}`
const unitOf = (id: string): number => Number(id.split('-').at(-1))

/** The coordinator's side of one run. */
export class RedisJobs {
  readonly #client: Redis
  readonly #queue: Queue<JobData>
  readonly #run: string
  readonly #errors: (text: string) => void

  private constructor(client: Redis, queue: Queue<JobData>, run: string, onError: (text: string) => void) {
    this.#client = client
    this.#queue = queue
    this.#run = run
    this.#errors = onError
  }

  static async open(
    { url, prefix = 'glossa' }: RedisOptions,
    run: string,
    onError: (text: string) => void,
  ): Promise<RedisJobs> {
    const { bull, Redis } = await packages()
    // Commands wait for a Redis that is restarted.
    const client = new Redis(url, { maxRetriesPerRequest: null })
    client.on('error', (error) => onError(`Redis: ${error.message}`))
    const queue = new bull.Queue<JobData>(queueName, { connection: client, prefix })
    queue.on('error', (error) => onError(`Redis: ${error.message}`))
    return new RedisJobs(client, queue, run, onError)
  }

  /** Adds jobs that Redis does not know; those it knows stay as they are. */
  async add(plan: Plan, units: readonly Unit[], attempts: number): Promise<void> {
    await this.#queue.addBulk(
      units.map((unit) => ({
        name: plan.task,
        data: { run: this.#run, plan, unit },
        opts: {
          ...{ jobId: `${this.#run}-${unit.index}`, attempts, removeOnComplete: true },
          backoff: { type: 'exponential', delay: 500 },
        },
      })),
    )
  }

  /** What has been found since the last call. It stays in Redis until `forget`. */
  async found(): Promise<Map<number, Outcome[]>> {
    const fields = await this.#client.hgetall(hashOf(this.#run))
    return new Map(
      Object.entries(fields).map(([index, text]) => [Number(index), JSON.parse(text) as Outcome[]]),
    )
  }

  async forget(units: readonly number[]): Promise<void> {
    if (units.length > 0) await this.#client.hdel(hashOf(this.#run), ...units.map(String))
  }

  /** Jobs that have failed as often as they may, with their reasons. */
  async failed(): Promise<Record<number, string>> {
    const jobs = (await this.#queue.getFailed()).filter((job) => job.data.run === this.#run)
    return Object.fromEntries(jobs.map((job) => [unitOf(job.id!), job.failedReason ?? 'unknown']))
  }

  /** Takes the run out of Redis. */
  async clear(units: readonly number[]): Promise<void> {
    for (const index of units) await this.#queue.remove(`${this.#run}-${index}`).catch(() => undefined)
    await this.#client.del(hashOf(this.#run))
  }

  async close(): Promise<void> {
    await this.#queue.close().catch((error: Error) => this.#errors(error.message))
    this.#client.disconnect()
  }
}

export interface RedisWorker {
  close(): Promise<void>
}

/** Takes jobs of any run until it is closed. `work` gives what one finds. */
export async function redisWorker(
  { url, prefix = 'glossa' }: RedisOptions,
  work: (plan: Plan, unit: Unit) => Promise<Outcome[]>,
  {
    concurrency = 1,
    lock = 30_000,
    onDone,
    onError,
  }: {
    readonly concurrency?: number
    /** Milliseconds without a sign of life after which a job is another worker's. */
    readonly lock?: number
    readonly onDone?: (unit: number, run: string) => void
    readonly onError: (text: string) => void
  },
): Promise<RedisWorker> {
  const { bull, Redis } = await packages()
  const client = new Redis(url, { maxRetriesPerRequest: null })
  client.on('error', (error) => onError(`Redis: ${error.message}`))
  const worker: Worker<JobData> = new bull.Worker<JobData>(
    queueName,
    async (job: Job<JobData>) => {
      const { run, plan, unit } = job.data
      const outcomes = await work(plan, unit)
      await client.hsetnx(hashOf(run), String(unit.index), JSON.stringify(outcomes))
      onDone?.(unit.index, run)
    },
    // A dead worker's job is begun again as often as it takes.
    {
      connection: client,
      prefix,
      concurrency,
      lockDuration: lock,
      stalledInterval: lock,
      maxStalledCount: 10,
    },
  )
  worker.on('error', (error) => onError(`Redis: ${error.message}`))
  worker.on('failed', (job, error) => onError(`job ${job?.id}: ${error.message}`))
  return {
    async close() {
      await worker.close()
      client.disconnect()
    },
  }
}
