/** Q4_0 and Q8_0 matrices of a GGUF file run as they are: the same integers, the same scales, no second rounding. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Tensor } from '../../src/array/index.ts'
import { dequantize } from '../../src/array/quantized.ts'
import { complete } from '../../src/decode/index.ts'
import { convertToGguf, load, Model, seal, weightBill } from '../../src/model/index.ts'
import type { Matrix, QuantizedMatrix } from '../../src/model/spec.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openGguf, readFloats, readGgufMetadata, writeGguf } from '../../src/store/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-stored-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

type Type = 'q8_0' | 'q4_0'
const starter = new URL('../../models/starter', import.meta.url).pathname
const sources = { starter, 'llama-tiny': fixture('llama-tiny'), 'llama-tiny-16': fixture('llama-tiny-16') }

function converted(name: keyof typeof sources, type: Type | 'f16'): string {
  const file = join(folder, `${name}-${type}.gguf`)
  convertToGguf(sources[name], file, type)
  return file
}

/**
 * Most that the products of a sealed model may add by rounding activations to 8 bits: root mean square error of a
 * token's log-probability, in nats, as for int8 in decoder.test.ts. Measured: at most 0.09.
 */
const roundedActivations = 0.2
const row = Array.from({ length: 24 }, (_, i) => (i * 31 + 17) % 97)

const scores = async (model: Model) => (await model.score([row])).data as Float32Array

async function expectSameScores(sealed: Model, model: Model): Promise<void> {
  const exact = await scores(model)
  // Weights that are arguments are unpacked and multiplied in f32.
  const open = new Model({ engine, spec: sealed.spec, params: sealed.params })
  allClose(await scores(open), exact, tolerance.f32)
  const own = await scores(sealed)
  const error = Math.sqrt(own.reduce((sum, x, i) => sum + (x - exact[i]!) ** 2, 0) / own.length)
  console.log(`${sealed.path}: log-probabilities off by ${error.toFixed(4)}`)
  expect(error).toBeLessThan(roundedActivations)
}

describe.each<[name: keyof typeof sources, type: Type]>([
  ['starter', 'q8_0'],
  ['starter', 'q4_0'],
  ['llama-tiny-16', 'q8_0'],
  ['llama-tiny-16', 'q4_0'],
  ['llama-tiny', 'q4_0'],
])('%s in %s', (name, type) => {
  const path = converted(name, type)
  const model = Model.open(path, engine)
  const sealed = seal(model, { weights: 'stored' })
  const { tensors } = openGguf(path)

  it("unpacks to ggml's weights, exactly", async () => {
    const bits = type === 'q4_0' ? 4 : 8
    const expectRows = async (matrix: Matrix, ...names: string[]): Promise<void> => {
      const { packed, scales } = matrix as QuantizedMatrix
      expect(packed.sizes[2]).toBe(4 * bits)
      const expected = names.flatMap((tensor) => [...readFloats(tensors.get(`${tensor}.weight`)!)])
      const values = await engine.compute(dequantize(packed, scales, { bits, block: 32 }))
      expect([...values.data]).toEqual(expected)
    }
    const { attn, mlp } = sealed.params.blocks[1]!
    if (!('qkv' in attn!) || !('gateUp' in mlp!)) throw new Error('matrices of one input were not joined')
    await expectRows(attn.qkv.weight, 'blk.1.attn_q', 'blk.1.attn_k', 'blk.1.attn_v')
    await expectRows(attn.o.weight, 'blk.1.attn_output')
    await expectRows(mlp.gateUp.weight, 'blk.1.ffn_gate', 'blk.1.ffn_up')
    await expectRows(sealed.params.embed, 'token_embd')
    if (sealed.params.head) await expectRows(sealed.params.head.weight, 'output')
  })

  it('scores as its weights in f32 do', async () => {
    await expectSameScores(sealed, model)
  })

  it('generates through a cache, and keeps what the file has in other types', async () => {
    const [text] = await complete(sealed, [row.slice(0, 6)], { temperature: 0, maxTokens: 2 })
    expect(text!.tokens).toHaveLength(2)
    const { kept } = weightBill(sealed)
    expect(kept.length > 0).toBe(name === 'llama-tiny') // rows of 88 are f16 in the file
  })
})

it('a tied head is the embedding, once', () => {
  const sealed = seal(Model.open(converted('starter', 'q4_0'), engine), { weights: 'stored' })
  expect(sealed.params.head).toBeUndefined()
  expect((sealed.params.embed as QuantizedMatrix).packed.sizes).toEqual([1024, 4, 16])
  expect(weightBill(sealed).bytesPerToken).toBe(weightBill(sealed).bytes)
})

it('matrices of one input in different types stay apart', async () => {
  const [whole, other] = [converted('llama-tiny-16', 'q4_0'), converted('llama-tiny-16', 'q8_0')]
  const mixed = join(folder, 'mixed.gguf')
  const eight = openGguf(other).tensors
  writeGguf(
    mixed,
    readGgufMetadata(whole),
    [...openGguf(whole).tensors.values()].map((entry) => {
      const from = entry.name.endsWith('attn_v.weight') ? eight.get(entry.name)! : entry
      // Floats of q4_0 give the same blocks again.
      return { name: entry.name, type: from.type, shape: entry.shape, data: readFloats(from) }
    }),
  )
  const model = Model.open(mixed, engine)
  const sealed = seal(model, { weights: 'stored' })
  const { attn } = sealed.params.blocks[0]!
  if (!('v' in attn!)) throw new Error('q4_0 and q8_0 were joined')
  expect([attn.q, attn.v].map(({ weight }) => (weight as QuantizedMatrix).packed.sizes[2])).toEqual([16, 32])
  await expectSameScores(sealed, model)
})

describe('refuses', () => {
  const message = /has no matrices in Q4_0 or Q8_0, .*take the weights f32, int8 or int4$/
  it.each([
    ['a folder', fixture('llama-tiny')],
    ['a GGUF file in f16', converted('llama-tiny-16', 'f16')],
  ])('%s', (_, path) => {
    expect(() => seal(Model.open(path, engine), { weights: 'stored' })).toThrow(message)
  })

  it('a block size', () => {
    const model = Model.open(converted('starter', 'q8_0'), engine)
    expect(() => seal(model, { weights: 'stored', block: 64 })).toThrow('leave out the block size')
  })
})

it('a matrix that has been changed is not taken from the file', async () => {
  const { params, ...rest } = load(converted('llama-tiny-16', 'q4_0'))
  const embed = await engine.compute((params.embed as Tensor).mul(2))
  const sealed = seal(new Model({ engine, ...rest, params: { ...params, embed } }), { weights: 'stored' })
  expect(sealed.params.embed).toBe(embed)
})
