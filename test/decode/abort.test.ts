/** A signal ends the reading of a long prompt, and nothing is lost or left behind. */
import { getEventListeners } from 'node:events'
import { afterAll, expect, it, vi } from 'vitest'
import { complete, PromptCache } from '../../src/decode/index.ts'
import { load, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { api } from '../../src/onnx/native.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const starter = new URL('../../models/starter', import.meta.url).pathname
const model = new Model({ engine, ...load(starter), context: 4096 })
const tokens = (count: number, from = 0): number[] =>
  Array.from({ length: count }, (_, i) => 5 + (((from + i) * 7919) % 900))
const options = { maxTokens: 3, temperature: 0, stopTokens: [] }

/** Milliseconds until the generation is over, which the signal ends after `wait`. */
async function stopped(
  prompt: readonly number[],
  wait: number,
  promptCache = new PromptCache(),
): Promise<number> {
  const controller = new AbortController()
  const start = performance.now()
  const timer = setTimeout(() => controller.abort(new Error('enough')), wait)
  await expect(
    complete(model, [prompt], options, { signal: controller.signal, promptCache }),
  ).rejects.toThrow('enough')
  clearTimeout(timer)
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  return performance.now() - start
}

it('ends within a fraction of the time, and the engine goes on', async () => {
  const prompt = tokens(4000)
  await complete(model, [prompt.slice(0, 9)], options)
  const start = performance.now()
  const [expected] = await complete(model, [prompt], options)
  const whole = performance.now() - start
  const sessions = engine.openSessions
  const calls = vi.spyOn(api(), 'call')

  // Other work on the machine may delay one of them.
  const times: number[] = []
  while (times.length < 3 && !(Math.min(...times) < 0.6 * whole))
    times.push(await stopped(prompt, 0.1 * whole))
  expect(Math.min(...times)).toBeLessThan(0.6 * whole)

  const [again] = await complete(model, [prompt], options, { signal: new AbortController().signal })
  expect(again!.tokens).toEqual(expected!.tokens)
  const count = (name: string): number => calls.mock.calls.filter(([called]) => called === name).length
  expect(count('CreateRunOptions')).toBe(times.length + 1)
  expect(count('ReleaseRunOptions')).toBe(times.length + 1)
  expect(engine.openSessions).toBe(sessions)
  calls.mockRestore()
}, 60_000)

it('keeps what a prompt cache had before', async () => {
  const promptCache = new PromptCache()
  const first = tokens(50)
  await complete(model, [first], options, { promptCache })
  expect(promptCache.tokens.length).toBe(first.length + 2)
  const long = [...first, ...tokens(3900, 77)]
  await stopped(long, 60, promptCache)
  // What was common to both; the answer's tokens may have been overwritten.
  expect(promptCache.tokens).toEqual(first)
  const next = [...first, 9, 8, 7]
  const [expected] = await complete(model, [next], options)
  const [answer] = await complete(model, [next], options, { promptCache })
  expect(promptCache.reused).toBe(first.length)
  expect(answer!.tokens).toEqual(expected!.tokens)
}, 60_000)

it('forgets a state that was stopped on its way', async () => {
  const mamba = Model.open(fixture('families/mamba'), engine)
  const promptCache = new PromptCache()
  const ids = Array.from({ length: 6000 }, (_, i) => i % 50)
  await complete(mamba, [ids.slice(0, 20)], options, { promptCache })
  expect(promptCache.tokens.length).toBe(22)
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('enough')), 1)
  await expect(
    complete(mamba, [[...promptCache.tokens, ...ids]], options, { promptCache, signal: controller.signal }),
  ).rejects.toThrow('enough')
  expect(promptCache.tokens).toEqual([])
  const [expected] = await complete(mamba, [ids.slice(0, 30)], options)
  const [answer] = await complete(mamba, [ids.slice(0, 30)], options, { promptCache })
  expect(promptCache.reused).toBe(0)
  expect(answer!.tokens).toEqual(expected!.tokens)
}, 60_000)

it('a signal that has been given already runs nothing', async () => {
  const run = vi.spyOn(model, 'step')
  await expect(complete(model, [[5, 6]], options, { signal: AbortSignal.abort() })).rejects.toThrow()
  expect(run).not.toHaveBeenCalled()
})
