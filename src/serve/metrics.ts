/** What the server has done, for Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { CompletionEvent, HostStats } from './host/types.ts'

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

/** Of a model's batch. */
type Figure = 'running' | 'queued' | 'slots' | 'steps' | 'reusedTokens'

export class Metrics {
  readonly #registry = new Registry()
  readonly #requests: Counter<'route' | 'status'>
  readonly #duration: Histogram<'route'>
  readonly #first: Histogram<'route'>
  readonly #prompt: Counter
  readonly #generated: Counter
  readonly #engine: Readonly<Record<Figure, Gauge<'model'>>>

  constructor() {
    const registers = [this.#registry]
    collectDefaultMetrics({ register: this.#registry })
    const labelNames = ['route'] as const
    this.#requests = new Counter({
      ...{ name: 'glossa_requests_total', help: 'Requests answered', registers },
      labelNames: ['route', 'status'],
    })
    this.#duration = new Histogram({
      ...{ name: 'glossa_request_seconds', help: 'From a request to the end of its answer', registers },
      ...{ labelNames, buckets: seconds },
    })
    this.#first = new Histogram({
      ...{ name: 'glossa_first_token_seconds', help: 'From a request to its first token', registers },
      ...{ labelNames, buckets: seconds },
    })
    this.#prompt = new Counter({ name: 'glossa_prompt_tokens_total', help: 'Tokens of prompts', registers })
    this.#generated = new Counter({
      name: 'glossa_generated_tokens_total',
      help: 'Tokens generated',
      registers,
    })
    const gauge = (name: string, help: string): Gauge<'model'> =>
      new Gauge({ name: `glossa_${name}`, help, labelNames: ['model'], registers })
    this.#engine = {
      running: gauge('running', 'Rows in the batch'),
      queued: gauge('queued', 'Requests that wait'),
      slots: gauge('slots', 'Most rows of the batch'),
      steps: gauge('steps', 'Steps of the engine'),
      reusedTokens: gauge('reused_tokens', 'Tokens of prompts that were in the cache'),
    }
  }

  /** One request: told of its events, and of its end. */
  request(route: string): { event(event: CompletionEvent): void; end(status: number): void } {
    const began = performance.now()
    const since = (): number => (performance.now() - began) / 1000
    let first = true
    return {
      event: (event) => {
        if (event.kind === 'prompt') this.#prompt.inc(event.tokens)
        if (event.kind !== 'token') return
        this.#generated.inc()
        if (first) this.#first.observe({ route }, since())
        first = false
      },
      end: (status) => {
        this.#requests.inc({ route, status: `${status}` })
        this.#duration.observe({ route }, since())
      },
    }
  }

  async text({ models }: HostStats): Promise<string> {
    for (const [name, gauge] of Object.entries(this.#engine)) {
      gauge.reset()
      for (const stats of models) gauge.set({ model: stats.model }, stats[name as Figure])
    }
    return this.#registry.metrics()
  }
}
