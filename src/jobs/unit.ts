/** Does one job. The outcome depends on the plan and the rows alone, not on who does it, when, or beside what. */
import { random } from '../array/index.ts'
import { Endpoint, type EndpointOptions, remoteModel, type TextPrompt } from '../remote/index.ts'
import { type LocalEndpoint, localEndpoint } from '../serve/index.ts'
import type { Row } from '../train/data/types.ts'
import type { Outcome, Plan, Unit } from './plan.ts'

export interface WorkerSettings {
  /** A model's folder, found or fetched by what it is called. */
  readonly locate: (model: string) => Promise<string>
  readonly threads?: number | undefined
  readonly apiKey?: string | undefined
}

/** Models that stay open from one job to the next. */
export class Resources {
  readonly #settings: WorkerSettings
  readonly #local = new Map<string, Promise<LocalEndpoint>>()

  constructor(settings: WorkerSettings) {
    this.#settings = settings
  }

  /** Where a plan's model is asked, and what it is called there. */
  async endpoint(plan: Plan): Promise<{ options: EndpointOptions; model: string; sae: string }> {
    const sae = plan.task === 'features' ? plan.sae : ''
    const [, baseURL, name] = /^(https?:\/\/[^#]+)#(.+)$/.exec(plan.model) ?? []
    if (baseURL) return { options: { baseURL, apiKey: this.#settings.apiKey }, model: name!, sae }
    if (/^https?:\/\//.test(plan.model))
      throw new Error(
        `'${plan.model}' does not say which model: URL#NAME, such as http://127.0.0.1:8080/v1#default`,
      )
    const key = JSON.stringify([plan.model, sae])
    if (!this.#local.has(key)) this.#local.set(key, this.#open(plan.model, sae))
    return { options: (await this.#local.get(key)!).options, model: 'model', sae: 'sae' }
  }

  async #open(model: string, sae: string): Promise<LocalEndpoint> {
    const { locate, threads } = this.#settings
    const path = await locate(model)
    return localEndpoint({
      models: { model: { path, ...(threads !== undefined && { threads }) } },
      ...(sae && { saes: { sae } }),
    })
  }

  async close(): Promise<void> {
    for (const opening of this.#local.values())
      await opening.then((one) => one.close()).catch(() => undefined)
    this.#local.clear()
  }
}

/** A field of a row that must be a text. */
function textOf(row: Row, field: string, at: number): string {
  const value = row[field]
  if (typeof value !== 'string') throw new Error(`row ${at} has no text '${field}'`)
  return value
}

export async function doUnit(
  plan: Plan,
  unit: Unit,
  resources: Resources,
  signal?: AbortSignal,
): Promise<Outcome[]> {
  const { options, model, sae } = await resources.endpoint(plan)
  const { rows, first } = unit
  switch (plan.task) {
    case 'generate': {
      const asked = remoteModel({ ...options, model })
      const { maxTokens, temperature, topP, stop, samples, seed, jsonSchema } = plan
      return Promise.all(
        rows.map(async (row, i) => {
          const prompt =
            (row.messages as TextPrompt | undefined) ??
            textOf(row, row.prompt === undefined ? 'text' : 'prompt', first + i)
          const [completions] = await asked.complete(
            [prompt],
            {
              ...{ maxTokens, temperature, samples, seed: random.fold(seed, first + i) },
              ...(topP !== undefined && { topP }),
              ...(stop && { stop }),
              ...(jsonSchema && { jsonSchema }),
            },
            signal,
          )
          return { row: first + i, completions: completions! }
        }),
      )
    }
    case 'score': {
      const asked = remoteModel({ ...options, model })
      const pairs = rows.map((row, i) =>
        row.continuation === undefined
          ? (['', textOf(row, 'text', first + i)] as const)
          : ([textOf(row, 'context', first + i), textOf(row, 'continuation', first + i)] as const),
      )
      const scores = await asked.score(pairs, signal)
      return scores.map((score, i) => ({ row: first + i, ...score, bytes: Buffer.byteLength(pairs[i]![1]) }))
    }
    case 'features': {
      const endpoint = new Endpoint(options)
      return Promise.all(
        rows.map(async (row, i) => {
          const body = {
            ...{ model, prompt: textOf(row, 'text', first + i), max_tokens: 0, echo: true, temperature: 0 },
            glossa: { taps: [{ sae, top: plan.top }] },
          }
          const answer = (await endpoint.post('/completions', body, { signal })) as {
            choices: { glossa?: { taps: { features: unknown }[] } }[]
          }
          const taps = answer.choices[0]?.glossa?.taps
          if (!taps)
            throw new Error(`${endpoint.url('/completions')} gives no activations: it must be glossa serve`)
          return { row: first + i, features: taps[0]!.features }
        }),
      )
    }
  }
}
