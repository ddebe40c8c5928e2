/** A decoder without its causal mask. Its numbers are PyTorch's (test/train/objectives.test.ts); here is who sees whom. */
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor } from '../../src/array/index.ts'
import { type DecoderSpec, forward, load, Model, rotaryTables, Taps } from '../../src/model/index.ts'
import { bothWays } from '../../src/model/parts/attention.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const ints = (rows: readonly (readonly number[])[]): Tensor =>
  tensor(Int32Array.from(rows.flat()), [rows.length, rows[0]!.length])

describe.each(['gpt2-tiny', 'llama-tiny'])('%s', (name) => {
  const { spec, params } = load(fixture(name))
  const program = (own: DecoderSpec) =>
    engine.jit((weights: typeof params, tokens: Tensor, mask: Tensor) => {
      const input = { tokens, bidirectional: { mask } }
      return forward(own, weights, input, rotaryTables(own), new Taps(own)).logits
    })
  const run = async (own: DecoderSpec, tokens: number[], mask: number[]) => {
    const logits = await program(own)(params, ints([tokens]), ints([mask]))
    const data = logits.data as Float32Array
    return tokens.map((_, t) => data.slice(t * spec.vocab, (t + 1) * spec.vocab))
  }
  const apart = (a: Float32Array, b: Float32Array) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))

  it('the first token sees the last, and nobody sees padding', async () => {
    const whole = [1, 1, 1, 1, 1]
    const one = await run(spec, [5, 6, 7, 8, 9], whole)
    const other = await run(spec, [5, 6, 7, 8, 30], whole)
    expect(apart(one[0]!, other[0]!)).toBeGreaterThan(1e-2)
    const short = [1, 1, 1, 0, 0]
    const padded = await run(spec, [5, 6, 7, 8, 9], short)
    const differently = await run(spec, [5, 6, 7, 40, 41], short)
    const alone = await run(spec, [5, 6, 7], [1, 1, 1])
    for (let t = 0; t < 3; t++) {
      expect(apart(padded[t]!, differently[t]!)).toBe(0)
      expect(apart(padded[t]!, alone[t]!)).toBeLessThan(1e-4)
    }
  })

  it('with a window it sees as far to either side', async () => {
    // One layer that reaches two tokens, so three of them reach six: the last of eight is out of sight for the first.
    const near = { ...spec, attention: { ...spec.attention!, window: { size: 3 } } }
    const whole = new Array<number>(8).fill(1)
    const [one, other] = [
      await run(near, [5, 6, 7, 8, 9, 10, 11, 12], whole),
      await run(near, [5, 6, 7, 8, 9, 10, 11, 30], whole),
    ]
    expect(apart(one[0]!, other[0]!)).toBe(0)
    expect(apart(one[1]!, other[1]!)).toBeGreaterThan(1e-5)
  })

  it('has no cache', () => {
    const model = new Model({ engine, spec, params })
    const past = { cache: model.newCache(1, 4), lengths: tensor(Int32Array.of(0)) }
    const input = { tokens: ints([[1]]), past, bidirectional: {} }
    expect(() => forward(spec, params, input, rotaryTables(spec), new Taps(spec))).toThrow(/a cache holds/)
  })
})

it('padding is seen by itself only', async () => {
  const mask = tensor(Float32Array.of(1, 1, 0, 0), [1, 4])
  const shown = async (window: number | undefined, given: Tensor | undefined) =>
    [...(await engine.compute(bothWays(4, window, given))).data].map((x) => (x === 0 ? 'x' : '.')).join('')
  expect(await shown(undefined, undefined)).toBe('xxxx xxxx xxxx xxxx'.replaceAll(' ', ''))
  expect(await shown(undefined, mask)).toBe('xx.. xx.. xxx. xx.x'.replaceAll(' ', ''))
  expect(await shown(2, undefined)).toBe('xx.. xxx. .xxx ..xx'.replaceAll(' ', ''))
  expect(await shown(2, mask)).toBe('xx.. xx.. .xx. ...x'.replaceAll(' ', ''))
})
