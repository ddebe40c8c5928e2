/** Rounds of everything a long-lived process does, with flat memory. GLOSSA_SOAK_ROUNDS makes it longer. */
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, expect, it } from 'vitest'
import { tensor } from '../src/array/index.ts'
import { complete } from '../src/decode/index.ts'
import { Model, seal } from '../src/model/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'
import { adamw, trainingStep } from '../src/train/index.ts'
import { fixture } from './reference.ts'

const rounds = Number(process.env.GLOSSA_SOAK_ROUNDS ?? 60)
const engine = new Engine(nodeRuntime())
afterAll(() => engine.dispose())

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Resident memory in MB, after what can be collected has been. */
async function resident(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect()
    // Buffers of native code are freed in finalizers, which run between tasks.
    await new Promise((done) => setTimeout(done, 20))
  }
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024
  } catch {
    return process.memoryUsage().rss / 2 ** 20
  }
}

it('generates, reads, edits and trains in turns without growing', async () => {
  const model = Model.open(fixture('llama-tiny-16'), engine)
  const sealed = seal(model, { weights: 'int4' })
  const optimizer = adamw()
  using step = trainingStep(engine, model.spec, optimizer)
  let params = model.params
  let state = optimizer.init(params)
  const louder = (x: import('../src/array/index.ts').Tensor) => x.mul(1.1)
  const round = async (i: number): Promise<void> => {
    const length = 3 + (i % 40)
    const prompt = Array.from({ length }, (_, k) => (k * 13 + i) % 128)
    await complete(
      model,
      [prompt, prompt.slice(0, 2)],
      { maxTokens: 8, seed: i },
      { edit: { hook_embed: louder } },
    )
    await complete(sealed, [prompt], { maxTokens: 8, temperature: 0 })
    await model.run([prompt], { read: ['blocks.1.hook_resid_post', 'blocks.0.attn.hook_pattern'] })
    const rows = Int32Array.from({ length: 4 * length }, (_, k) => (k * 7 + i) % 128)
    ;({ params, state } = await step(params, state, tensor(rows, [4, length]), tensor([1e-3], [])))
    await engine.compute(tensor(new Float32Array(1000).fill(i)).mul(2).sum())
  }
  for (let i = 0; i < 15; i++) await round(i)
  const sessions = engine.openSessions
  const before = await resident()
  for (let i = 0; i < rounds; i++) await round(i)
  const after = await resident()
  console.log(`resident memory ${before.toFixed(0)} MB, after ${rounds} rounds ${after.toFixed(0)} MB`)
  expect(engine.openSessions).toBeLessThanOrEqual(sessions)
  expect(after - before).toBeLessThan(24)
}, 300_000)

it('opens and releases 200 sessions without growing', async () => {
  const open = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      using model = Model.open(fixture('llama-tiny'), engine)
      await model.score([[1, 2, 3 + (i % 50)]])
    }
  }
  await open(30)
  const sessions = engine.openSessions
  const before = await resident()
  await open(200)
  const after = await resident()
  console.log(`resident memory ${before.toFixed(0)} MB, after 200 sessions ${after.toFixed(0)} MB`)
  expect(engine.openSessions).toBeLessThanOrEqual(sessions)
  expect(after - before).toBeLessThan(24)
}, 300_000)
