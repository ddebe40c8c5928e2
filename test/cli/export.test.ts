import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { Model, seal, type WeightFormat } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'
import { glossa, gpt2Tiny, json, llamaTiny, llamaTiny16 } from './glossa.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-export-'))
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await engine.dispose()
})

/** Logits of the engine, [tokens, vocab]. */
async function logitsOf(path: string, weights: WeightFormat, row: readonly number[]): Promise<Float32Array> {
  const { logits } = await seal(Model.open(path, engine), { weights }).run([row], { read: ['logits'] })
  return logits!.data as Float32Array
}

/**
 * Norms and scales are written out in an exported model: other orders of the same f32 sums. Where products round
 * activations to 8 bits, a last digit can move one by a whole step.
 */
const apart = {
  f32: tolerance.f32,
  int8: { rtol: 0, atol: 0.05 },
  int4: { rtol: 0, atol: 0.05 },
} as const

const long = (values: readonly number[], shape: readonly number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), shape)

const tokens = [3, 17, 42, 5, 60, 11]

async function exported(model: string, ...options: string[]): Promise<InferenceSession> {
  const file = join(folder, `${readdirSync(folder).length}.onnx`)
  await json('export', '-m', model, '-o', file, ...options)
  // By its path: ONNX Runtime finds the data file beside it.
  return InferenceSession.create(file, { intraOpNumThreads: 1 })
}

describe('glossa export', () => {
  for (const model of [gpt2Tiny, llamaTiny, llamaTiny16])
    for (const weights of ['f32', 'int8', 'int4'] as const)
      it(`${model} in ${weights}: plain ONNX Runtime gives the engine's logits`, async () => {
        const session = await exported(model, '--weights', weights)
        expect(session.inputNames).toEqual(['input_ids'])
        expect(session.outputNames).toEqual(['logits'])
        const { logits } = await session.run({ input_ids: long(tokens, [1, tokens.length]) })
        allClose(logits!.data as Float32Array, await logitsOf(model, weights, tokens), apart[weights])
      })

  it('a batch with taps gives the reference', async () => {
    const reference = readReference(fixture('llama-tiny'))
    const ids = reference.get('tokens')!
    const taps = ['blocks.1.hook_resid_post', 'blocks.0.attn.hook_pattern']
    const session = await exported(llamaTiny, ...taps.flatMap((site) => ['--tap', site]))
    expect(session.outputNames).toEqual(['logits', ...taps])
    const outputs = await session.run({ input_ids: long([...ids.data], ids.shape) })
    for (const name of session.outputNames) {
      const expected = reference.get(name)!
      allClose(outputs[name]!.data as Float32Array, expected.data, { ...tolerance.f32, name })
    }
  })

  it.each([
    [gpt2Tiny, 'f32'],
    [llamaTiny, 'f32'],
    [llamaTiny16, 'f32'],
    [llamaTiny16, 'int4'],
  ] as const)('%s in %s with a cache: padded prompts, then token by token', async (model, weights) => {
    const session = await exported(model, '--cache', '--weights', weights)
    const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'))
    const heads: number = config.num_key_value_heads ?? config.n_head
    const size = (config.hidden_size ?? config.n_embd) / (config.num_attention_heads ?? config.n_head)
    const capacity = 10
    let past: Record<string, Tensor> = Object.fromEntries(
      session.inputNames
        .filter((name) => name.startsWith('past.'))
        .map((name) => {
          const data = new Float32Array(2 * heads * capacity * size)
          return [name, new Tensor('float32', data, [2, heads, capacity, size])]
        }),
    )
    const step = async (
      ids: number[],
      width: number,
      lengths: number[],
      at: number[],
    ): Promise<Float32Array> => {
      const inputs = { input_ids: long(ids, [2, width]), lengths: long(lengths, [2]), at: long(at, [2]) }
      const outputs = await session.run({ ...inputs, ...past })
      past = Object.fromEntries(
        Object.keys(past).map((name) => [name, outputs[name.replace('past', 'present')]! as Tensor]),
      )
      return outputs.logits!.data as Float32Array
    }
    // Rows of 3 and 5 tokens; the shorter is padded at its end.
    const rows = [tokens.slice(0, 3), tokens.slice(1)]
    const limits = weights === 'f32' ? tolerance.f32 : { rtol: 0, atol: 1 }
    const check = async (logits: Float32Array): Promise<void> => {
      const expected: number[] = []
      for (const row of rows) {
        const whole = await logitsOf(model, weights, row)
        expected.push(...whole.slice(-whole.length / row.length))
      }
      allClose(logits, expected, limits)
    }
    await check(await step([...rows[0]!, 0, 0, ...rows[1]!], 5, [0, 0], [2, 4]))
    for (const next of [7, 30]) {
      const lengths = rows.map((row) => row.length)
      for (const row of rows) row.push(next)
      await check(await step([next, next], 1, lengths, [0, 0]))
    }
  })

  it('writes names that people read, and no path of this machine', async () => {
    const file = join(folder, 'named.onnx')
    const { stdout, code } = await glossa('export', '-m', llamaTiny16, '-o', file, '--weights', 'int4')
    expect(code).toBe(0)
    expect(stdout).toContain('input_ids  i64[batch, sequence]')
    const text = readFileSync(file, 'latin1')
    for (const name of ['named.onnx.data', 'blocks.0.attn.qkv.weight.packed', 'glossa.spec', 'llama-tiny-16'])
      expect(text).toContain(name)
    expect(text).not.toContain('/fixtures')
    expect(text).not.toContain(folder)
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('needs no operators but those of the standard, where it can', async () => {
    for (const model of [gpt2Tiny, llamaTiny]) {
      const file = join(folder, `standard-${model.split('/').at(-1)}.onnx`)
      await json('export', '-m', model, '-o', file)
      const text = readFileSync(file, 'latin1')
      for (const foreign of ['com.microsoft', 'SimplifiedLayerNormalization'])
        expect(text).not.toContain(foreign)
    }
  })

  it('refuses an unknown site and leaves nothing behind', async () => {
    const before = readdirSync(folder)
    const { code } = await glossa('export', '-m', llamaTiny, '-o', join(folder, 'x.onnx'), '--tap', 'nothing')
    expect(code).toBe(1)
    expect(readdirSync(folder)).toEqual(before)
  })
})
