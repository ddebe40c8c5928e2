import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
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
    // Single tokens, and then three and two of them: several rows, several new tokens, and a past.
    for (const fresh of [
      [[7], [7]],
      [[30], [30]],
      [
        [9, 44, 21],
        [12, 8],
      ],
    ]) {
      const lengths = rows.map((row) => row.length)
      for (const [i, row] of rows.entries()) row.push(...fresh[i]!)
      const width = fresh[0]!.length
      const ids = fresh.flatMap((row) => [...row, ...new Array<number>(width - row.length).fill(0)])
      const at = fresh.map((row) => row.length - 1)
      await check(await step(ids, width, lengths, at))
    }
  })

  it.each([
    [gpt2Tiny, 'f32'],
    [llamaTiny, 'f32'],
    [llamaTiny16, 'int8'],
    [llamaTiny16, 'int4'],
  ] as const)(
    '%s in %s for transformers.js: rows padded at their beginning, then chunks',
    async (model, weights) => {
      const path = join(folder, `${readdirSync(folder).length}`)
      await json('export', '-m', model, '-o', path, '--layout', 'transformers.js', '--weights', weights)
      const suffix = { f32: '', int8: '_quantized', int4: '_q4' }[weights]
      const session = await InferenceSession.create(join(path, 'onnx', `model${suffix}.onnx`), {
        intraOpNumThreads: 1,
      })
      const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))
      const layers: number = config.num_hidden_layers ?? config.n_layer
      const heads: number = config.num_key_value_heads ?? config.n_head
      const size = (config.hidden_size ?? config.n_embd) / (config.num_attention_heads ?? config.n_head)
      const parts = Array.from({ length: layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat()
      expect(session.inputNames).toEqual([
        ...['input_ids', 'attention_mask', 'position_ids'],
        ...parts.map((part) => `past_key_values.${part}`),
      ])
      expect(session.outputNames).toEqual(['logits', ...parts.map((part) => `present.${part}`)])
      let past: Record<string, Tensor> = Object.fromEntries(
        parts.map((part) => [`past_key_values.${part}`, new Tensor('float32', [], [2, heads, 0, size])]),
      )
      const pads = [2, 0]
      const rows: number[][] = [[], []]
      const run = async (ids: readonly (readonly number[])[], maskLength: number) => {
        const total = pads.map((pad, i) => pad + rows[i]!.length)[0]!
        const width = ids[0]!.length
        const mask = pads.flatMap((pad) => Array.from({ length: maskLength }, (_, i) => (i < pad ? 0 : 1)))
        const places = pads.flatMap((pad) =>
          Array.from({ length: width }, (_, i) => Math.max(0, total - width + i - pad)),
        )
        return session.run({
          input_ids: long(ids.flat(), [2, width]),
          attention_mask: long(mask, [2, maskLength]),
          position_ids: long(places, [2, width]),
          ...past,
        })
      }
      const limits = weights === 'f32' ? tolerance.f32 : { rtol: 0, atol: 1 }
      for (const fresh of [
        [
          [3, 17],
          [5, 60, 11, 42],
        ],
        [[7], [30]],
        [
          [9, 44, 21],
          [12, 8, 33],
        ],
      ]) {
        for (const [i, row] of rows.entries()) row.push(...fresh[i]!)
        const width = fresh[1]!.length
        const ids = fresh.map((row) => [...new Array<number>(width - row.length).fill(0), ...row])
        const length = pads[1]! + rows[1]!.length
        const outputs = await run(ids, length)
        const vocab = config.vocab_size as number
        const logits = outputs.logits!.data as Float32Array
        for (const [i, row] of rows.entries()) {
          const whole = await logitsOf(model, weights, row)
          // Padding has logits of its own, which nobody reads.
          const count = fresh[i]!.length
          const theirs = logits.slice(((i + 1) * width - count) * vocab, (i + 1) * width * vocab)
          allClose(theirs, whole.slice(-count * vocab), limits)
        }
        past = Object.fromEntries(
          parts.map((part) => [`past_key_values.${part}`, outputs[`present.${part}`]! as Tensor]),
        )
      }
      // A mask of another length is refused, not cut.
      for (const row of rows) row.push(1)
      const length = pads[1]! + rows[1]!.length
      for (const wrong of [length - 1, length + 1])
        await expect(run([[1], [1]], wrong)).rejects.toThrow('ndices')
    },
  )

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

  it('refuses what transformers.js cannot open', async () => {
    const layout = ['--layout', 'transformers.js']
    const tried = async (...options: string[]) => (await glossa('export', ...options)).stderr
    const into = join(folder, 'refused')
    expect(await tried('-m', llamaTiny, '-o', into)).toContain('--layout transformers.js')
    expect(await tried('-m', llamaTiny, '-o', into, ...layout, '--cache')).toContain('leave out --cache')
    const mixtral = 'test/fixtures/families/mixtral'
    expect(await tried('-m', mixtral, '-o', into, ...layout)).toContain("has no decoder 'mixtral'")
    expect(existsSync(into)).toBe(false)
    expect((await glossa('export', '-m', llamaTiny, '-o', into, ...layout)).code).toBe(0)
    expect(await tried('-m', gpt2Tiny, '-o', into, ...layout)).toContain('holds another model')
  })

  it('refuses an unknown site and leaves nothing behind', async () => {
    const before = readdirSync(folder)
    const { code } = await glossa('export', '-m', llamaTiny, '-o', join(folder, 'x.onnx'), '--tap', 'nothing')
    expect(code).toBe(1)
    expect(readdirSync(folder)).toEqual(before)
  })
})
