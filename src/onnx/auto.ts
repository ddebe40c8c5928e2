/** Which execution provider is fastest here: measured, because it depends on the machine more than on the name. */
import { trace } from '../array/jit.ts'
import { type Tensor, zeros } from '../array/tensor.ts'
import { Engine } from './engine.ts'
import { availableProviders, nodeRuntime } from './node.ts'

export interface Choice {
  readonly provider: string
  /** What was measured, in one line. */
  readonly reason: string
}

/** A layer of a small model over a short prompt. */
const [rows, width] = [64, 1024]
const rounds = 3
/** Milliseconds after which a slow provider is not measured again. */
const enough = 200

/** Milliseconds of a product with constant weights until the host has it, the best of a few. */
async function measure(provider: string, threads: number | undefined): Promise<number> {
  await using engine = new Engine(nodeRuntime({ provider, ...(threads !== undefined && { threads }) }))
  const weights = zeros([width, width])
  const x = zeros([rows, width])
  const { graph } = trace((input: Tensor) => input.matmul(weights), [x])
  const program = await engine.compile(graph, 'measure', { threads: engine.runtime.threads })
  let best = Number.POSITIVE_INFINITY
  let spent = 0
  // The first run compiles shaders.
  for (let round = 0; round <= rounds && spent < enough; round++) {
    const start = performance.now()
    const [result] = await program.run([x])
    // A device may still be at work when a run is done.
    await result!.load()
    const time = performance.now() - start
    result!.dispose()
    if (round === 0) continue
    best = Math.min(best, time)
    spent += time
  }
  return best
}

/** The provider with the shortest time; those that do not work on this machine are named with their reason. */
export async function chooseProvider(options: { readonly threads?: number } = {}): Promise<Choice> {
  const times: [provider: string, ms: number][] = []
  const failed: string[] = []
  for (const provider of availableProviders())
    try {
      times.push([provider, await measure(provider, options.threads)])
    } catch (error) {
      const [first = ''] = (error as Error).message.trim().split('\n')
      failed.push(`${provider} does not run here (${first.replace(/^.*?: /, '').slice(0, 120)})`)
    }
  times.sort(([, a], [, b]) => a - b)
  const [fastest] = times
  if (!fastest) throw new Error(`no execution provider runs here: ${failed.join('; ')}`)
  const measured = times.map(([provider, ms]) => `${provider} ${ms.toFixed(1)} ms`)
  return {
    provider: fastest[0],
    reason: [`a product of ${rows}x${width}x${width} takes ${measured.join(', ')}`, ...failed].join('; '),
  }
}
