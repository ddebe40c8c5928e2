/** The model that `npm start` runs, and what has made it. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { batches } from '../../scripts/starter/batches.ts'
import { bitsPerByte } from '../../scripts/starter/bitsPerByte.ts'
import { complete } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openSafetensors } from '../../src/store/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-starter-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})
const starter = fileURLToPath(new URL('../../models/starter', import.meta.url))
const story =
  'Once upon a time, there was a little girl named Lily. She had a big red ball. One day, she went to the park ' +
  'with her mom. She saw a boy. "Do you want to play with me?" she asked. The boy was happy and said yes. They ' +
  'played with the ball all day. Then it was time to go home.'
const awkward = [
  '',
  ' ',
  'é ü 日本 👩‍👩‍👧 \u0000\u00ad',
  'a\r\n\tb   c\n\n',
  story,
  '<|endoftext|',
  "don't  12345!?",
]

describe('batches', () => {
  it('take every window of an epoch once, with targets one place on', () => {
    const tokens = Int32Array.from({ length: 103 }, (_, i) => i)
    const source = batches(tokens, 3, 10, 1)
    const starts: number[] = []
    for (let i = 0; i < 3; i++) {
      const rows = source.next().value as Int32Array
      expect(rows.length).toBe(33)
      for (let row = 0; row < 3; row++) {
        const own = [...rows.subarray(row * 11, row * 11 + 11)]
        expect(own).toEqual(own.map((_, k) => own[0]! + k))
        starts.push(own[0]!)
      }
    }
    // Nine or ten windows of ten fit into an epoch.
    expect(new Set(starts).size).toBe(9)
    expect(new Set(starts.map((start) => start % 10)).size).toBe(1)
    expect(starts).not.toEqual([...starts].sort((a, b) => a - b))
  })

  it('refuse fewer tokens than a window needs', () => {
    expect(() => batches(new Int32Array(15), 2, 10, 1).next()).toThrow(/15 tokens are too few/)
  })
})

describe('the bundled model', () => {
  const model = Model.open(starter, engine)

  it('is a small Llama in f16 that says how it was made', () => {
    const file = join(starter, 'model.safetensors')
    expect(statSync(file).size).toBeLessThan(4e6)
    expect(new Set([...openSafetensors(file).tensors.values()].map(({ type }) => type))).toEqual(
      new Set(['f16']),
    )
    const card = readFileSync(join(starter, 'MODEL_CARD.md'), 'utf8')
    for (const part of [
      'CDLA-Sharing-1.0',
      'bits per byte',
      'npx tsx scripts/train-starter.ts',
      '**Seed 5.**',
    ])
      expect(card).toContain(part)
  })

  it('gives every text back', () => {
    for (const sample of awkward) {
      const { ids } = model.tokenizer!.encode(sample)
      expect(ids[0]).toBe(model.tokenizer!.bos)
      expect(Buffer.concat(ids.slice(1).map((id) => model.tokenizer!.bytes(id))).toString()).toBe(sample)
    }
  })

  it('predicts a simple story, and better than its words in reverse', async () => {
    const bits = await bitsPerByte(model, [story])
    const reversed = await bitsPerByte(model, [story.split(' ').reverse().join(' ')])
    console.log(
      `starter: ${bits.toFixed(3)} bits per byte of a simple story, ${reversed.toFixed(3)} in reverse`,
    )
    expect(bits).toBeLessThan(1.1)
    expect(reversed).toBeGreaterThan(2 * bits)
  })

  it('is measured over texts longer than its context, every token once', async () => {
    let long = story
    while (model.tokenizer!.encode(long).ids.length < 1.6 * model.context) long += ` ${story}`
    const { ids } = model.tokenizer!.encode(long)
    const half = model.context / 2
    let nats = 0
    let counted = 0
    for (let at = 1; at < ids.length; at++) {
      const start = at < model.context ? 0 : Math.floor((at - half) / half) * half
      const scores = (await model.score([ids.slice(start, at + 1)])).data as Float32Array
      nats -= scores.at(-1)!
      counted++
    }
    expect(counted).toBe(ids.length - 1)
    expect(await bitsPerByte(model, [long])).toBeCloseTo(nats / Math.LN2 / Buffer.byteLength(long), 5)
  }, 120_000)

  it('tells the same story for the same seed', async () => {
    const tell = async (seed: number) =>
      (await complete(model, ['Once upon a time'], { seed, temperature: 0.8, maxTokens: 40 }))[0]!.text
    expect(await tell(1)).toBe(await tell(1))
    expect(await tell(1)).not.toBe(await tell(2))
  })
})
