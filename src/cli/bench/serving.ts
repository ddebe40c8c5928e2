/** The server under clients that stream: how many tokens a second they get together, and how long the first one takes. */
import { serve } from '../../serve/index.ts'
import { bundledModel } from '../../store/index.ts'
import { median } from './measure.ts'

export interface Load {
  readonly tokensPerSecond: number
  /** Milliseconds from a request to its first token: all of them, least first. */
  readonly first: readonly number[]
}

export interface ServingOptions {
  readonly clients: number
  readonly tokens: number
  readonly rounds: number
  readonly threads?: number | undefined
}

const beginnings = [
  'Once upon a time',
  'The little dog',
  'One day Lily',
  'A big red ball',
  'In the garden',
  'Tom was sad',
]

/** One client: a streamed answer, and when its first token came. */
async function client(url: string, model: string, i: number, tokens: number): Promise<number> {
  const began = performance.now()
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    body: JSON.stringify({
      ...{ model, prompt: `${beginnings[i % beginnings.length]} ${i}`, seed: i, max_tokens: tokens },
      ...{ ignore_eos: true, stream: true },
    }),
  })
  if (!response.ok) throw new Error(await response.text())
  let first: number | undefined
  for await (const _ of response.body!) first ??= performance.now() - began
  return first!
}

async function load(url: string, model: string, clients: number, tokens: number): Promise<Load> {
  const began = performance.now()
  const first = await Promise.all(Array.from({ length: clients }, (_, i) => client(url, model, i, tokens)))
  const seconds = (performance.now() - began) / 1000
  return { tokensPerSecond: (clients * tokens) / seconds, first: first.sort((a, b) => a - b) }
}

export const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!

/** The bundled model's server under one client and under many, in turns; of each the median by tokens a second. */
export async function serving({ clients, tokens, rounds, threads }: ServingOptions): Promise<{
  one: Load
  many: Load
  ratio: { ratio: number; low: number; high: number }
}> {
  const path = bundledModel('default')
  if (!path) throw new Error('models/default is missing')
  const server = await serve({
    ...{ models: { default: { path, ...(threads !== undefined && { threads }) } }, keep: 1, port: 0 },
    batch: { slots: clients, queue: clients },
  })
  try {
    const ask = (count: number): Promise<Load> => load(server.url, 'default', count, tokens)
    // Programs of all widths of the batch are compiled before the clock runs.
    await ask(1)
    await ask(clients)
    const pairs: [Load, Load][] = []
    for (let i = 0; i < rounds; i++) pairs.push([await ask(1), await ask(clients)])
    const ratios = pairs
      .map(([one, many]) => many.tokensPerSecond / one.tokensPerSecond)
      .sort((a, b) => a - b)
    const middle = (loads: Load[]): Load => {
      const rate = median(loads.map(({ tokensPerSecond }) => tokensPerSecond))
      return { tokensPerSecond: rate, first: loads.flatMap(({ first }) => first).sort((a, b) => a - b) }
    }
    return {
      one: middle(pairs.map(([one]) => one)),
      many: middle(pairs.map(([, many]) => many)),
      ratio: { ratio: median(ratios), low: ratios[0]!, high: ratios.at(-1)! },
    }
  } finally {
    await server.close(0)
  }
}
