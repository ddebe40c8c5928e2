/** What is made of windows on the host: spans, the middle, random masks. */
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor, tensor } from '../../array/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { PackedBatches } from '../data/packed.ts'
import { fillInTheMiddle, fillInTheMiddleSchema, rearrangeWindow } from './fillInTheMiddle.ts'
import { corrupt, masked, maskedSchema } from './masked.ts'
import { corruptSpans, decoderSpans, spanBatches, spanSchema } from './spanCorruption.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const counting = (length: number, from = 10): number[] => Array.from({ length }, (_, i) => from + i)
const windows = new PackedBatches({
  sources: [{ tokens: Int32Array.from(counting(1000)) }],
  batch: 3,
  length: 40,
  seed: 1,
})

describe('span corruption', () => {
  const options = spanSchema.parse({ sentinels: [5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007], end: 1 })

  it.each([
    [100, 15, 5],
    [41, 6, 2],
    [10, 2, 1],
    [2, 1, 1],
  ])('hides of %i tokens %i in %i spans, and nothing is lost', (length, hidden, spans) => {
    for (let seed = 0; seed < 20; seed++) {
      const text = counting(length)
      const { input, target } = corruptSpans(text, options, random.generator(seed))
      expect(input).toHaveLength(length - hidden + spans + 1)
      expect(target).toHaveLength(hidden + spans + 1)
      expect([input.at(-1), target.at(-1)]).toEqual([1, 1])
      // Each sentinel of the input gives way to what stands behind it in the target.
      const pieces = new Map<number, number[]>()
      for (const token of target.slice(0, -1))
        if (token >= 5000) pieces.set(token, [])
        else [...pieces.values()].at(-1)!.push(token)
      expect([...pieces.keys()]).toEqual(options.sentinels.slice(0, spans))
      expect([...pieces.values()].every((piece) => piece.length > 0)).toBe(true)
      expect(input.slice(0, -1).flatMap((token) => pieces.get(token) ?? [token])).toEqual(text)
      expect(input[0]).toBe(10)
    }
  })

  it('draws every way to cut equally often', () => {
    // 4 hidden tokens in 2 spans: 1 + 3, 2 + 2, 3 + 1. Of 3000 draws each has 1000, give or take 26.
    const two = spanSchema.parse({ sentinels: [50, 51], end: 1, share: 0.4, meanSpan: 2 })
    const counts = [0, 0, 0]
    for (let seed = 0; seed < 3000; seed++) {
      const { target } = corruptSpans(counting(10), two, random.generator(random.fold(7, seed)))
      counts[target.indexOf(51) - 2]!++
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(4 * 26)
  })

  it('refuses a text that has more spans than there are sentinels', () => {
    expect(() => corruptSpans(counting(1000), options, random.generator(1))).toThrow(
      /50 spans, .* 8 sentinels/,
    )
    expect(() => corruptSpans([3], options, random.generator(1))).toThrow(/nothing to hide/)
  })

  it('makes batches by number', async () => {
    const batches = spanBatches(windows, options)
    const [first, again, next] = [await batches.at(3), await batches.at(3), await batches.at(4)]
    expect(first.tokens.sizes).toEqual([3, 41 - 6 + 2 + 1])
    expect(first.targets.sizes).toEqual([3, 6 + 2 + 1])
    expect(first.tokens.data).toEqual(again.tokens.data)
    expect(first.tokens.data).not.toEqual(next.tokens.data)
    const joined = await decoderSpans(windows, options).at(3)
    expect([...joined.tokens.data.slice(0, 47)]).toEqual([
      ...first.tokens.data.slice(0, 38),
      ...first.targets.data.slice(0, 9),
    ])
    expect([...joined.mask.data.slice(0, 47)]).toEqual([...Array(38).fill(0), ...Array(9).fill(1)])
  })
})

describe('filling in the middle', () => {
  const tokens = { prefix: 1, middle: 2, suffix: 3, end: 0 }
  const parse = (options: object) => fillInTheMiddleSchema.parse({ ...tokens, ...options })
  /** The text of a rearranged document. */
  const restored = (document: readonly number[]): number[] => {
    const [suffix, middle] = [document.indexOf(3), document.indexOf(2)]
    return [
      ...document.slice(1, suffix),
      ...document.slice(middle + 1),
      ...document.slice(suffix + 1, middle),
    ]
  }

  it('rearranges as PSM: prefix, suffix, middle', () => {
    const cuts = new Set<string>()
    for (let seed = 0; seed < 400; seed++) {
      const window = counting(12)
      const made = rearrangeWindow(window, parse({ rate: 1, spm: 0 }), random.generator(seed))
      expect(made).toHaveLength(12)
      expect(made[0]).toBe(1)
      // Three came in, so the last three are gone.
      expect(restored(made)).toEqual(window.slice(0, 9))
      cuts.add(`${made.indexOf(3)} ${made.indexOf(2)}`)
    }
    // 55 pairs of cuts in 9 tokens, the rarest met with 400 / 100.
    expect(cuts.size).toBeGreaterThan(45)
  })

  it('rearranges as SPM: suffix first, then prefix and middle in one piece', () => {
    for (let seed = 0; seed < 50; seed++) {
      const window = counting(12)
      const made = rearrangeWindow(window, parse({ rate: 1, spm: 1 }), random.generator(seed))
      expect(made.slice(0, 2)).toEqual([1, 3])
      const at = made.indexOf(2)
      expect([...made.slice(at + 1), ...made.slice(2, at)]).toEqual(window.slice(0, 9))
    }
  })

  it('takes each document by itself, with its end', () => {
    const window = [...counting(6), 0, ...counting(7, 30), 0, ...counting(8, 50)]
    for (let seed = 0; seed < 50; seed++) {
      const made = rearrangeWindow(window, parse({ rate: 1, spm: 0 }), random.generator(seed))
      expect(made).toHaveLength(window.length)
      const [a, b] = [made.indexOf(0), made.lastIndexOf(0)]
      expect(restored(made.slice(0, a))).toEqual(counting(6))
      expect(restored(made.slice(a + 1, b))).toEqual(counting(7, 30))
      const rest = made.slice(b + 1)
      expect(rest).toHaveLength(2)
      // Too little is left to cut anything: it stays.
      expect(rest).toEqual([50, 51])
    }
  })

  it('leaves the beginning of a document in front', () => {
    const window = [9, ...counting(20)]
    const made = rearrangeWindow(window, parse({ rate: 1, spm: 0, begin: 9 }), random.generator(1))
    expect(made.slice(0, 2)).toEqual([9, 1])
    expect(restored(made.slice(1))).toEqual(counting(17))
  })

  it('rearranges as many documents as it is asked for, the same ones each time', async () => {
    const count = async (rate: number, spm: number) => {
      const batches = fillInTheMiddle(windows, parse({ rate, spm }))
      const found = { rearranged: 0, suffixFirst: 0 }
      for (let i = 0; i < 300; i++) {
        const { tokens } = await batches.at(i)
        const { data } = (await batches.at(i)).tokens
        expect(tokens.data).toEqual(data)
        for (let row = 0; row < 3; row++) {
          if (data[row * 41] === 1) found.rearranged++
          if (data[row * 41] === 1 && data[row * 41 + 1] === 3) found.suffixFirst++
        }
      }
      return found
    }
    expect(await count(0, 0.5)).toEqual({ rearranged: 0, suffixFirst: 0 })
    const { rearranged, suffixFirst } = await count(0.5, 0.5)
    // Of 900 windows 450, give or take 15; half of them SPM, and as PSM 2 in 39 have an empty prefix.
    expect(Math.abs(rearranged - 450)).toBeLessThan(4 * 15)
    expect(Math.abs(suffixFirst - rearranged * (0.5 + 0.5 * (2 / 39)))).toBeLessThan(4 * 11)
  })
})

describe('random masks', () => {
  const options = maskedSchema.parse({ maskToken: 4, special: [1, 2] })
  const [rows, time, vocab] = [100, 200, 50]
  const uniform = random.generator(5)
  const data = Int32Array.from({ length: rows * time }, () => Math.floor(uniform() * vocab))
  const padding = Float32Array.from({ length: rows * time }, (_, i) => (i % time < 180 ? 1 : 0))
  const program = engine.jit((tokens: Tensor, mask: Tensor, key: Tensor) =>
    corrupt({ tokens, mask }, vocab, options, key),
  )
  const draw = async (seed: number) => {
    const shape = [rows, time]
    const { seen, chosen } = await program(tensor(data, shape), tensor(padding, shape), random.key(seed))
    return { seen: seen.data as Int32Array, chosen: chosen.data as Float32Array }
  }

  it('take 15 % of the tokens, 80 % of them masked, 10 % replaced, 10 % kept', async () => {
    const { seen, chosen } = await draw(3)
    const free = data.reduce(
      (sum, token, i) => sum + (padding[i]! > 0 && token !== 1 && token !== 2 ? 1 : 0),
      0,
    )
    const of = { chosen: 0, masked: 0, kept: 0 }
    const replacements = new Set<number>()
    data.forEach((token, i) => {
      if (chosen[i] === 0) {
        expect(seen[i]).toBe(token)
        return
      }
      expect(padding[i]).toBe(1)
      expect([1, 2]).not.toContain(token)
      of.chosen++
      if (seen[i] === 4) of.masked++
      else if (seen[i] === token) of.kept++
      else replacements.add(seen[i]!)
    })
    const within = (count: number, n: number, p: number) =>
      expect(Math.abs(count - n * p)).toBeLessThan(4 * Math.sqrt(n * p * (1 - p)))
    within(of.chosen, free, 0.15)
    // A replacement is the mask token or the old one once in fifty times.
    within(of.masked, of.chosen, 0.8 + 0.1 / vocab)
    within(of.kept, of.chosen, 0.1 + 0.1 / vocab)
    // 250 replacements of 50 tokens: the mask token and few others are not among them.
    expect(replacements.size).toBeGreaterThan(44)
    expect(Math.max(...replacements)).toBeLessThan(vocab)
  })

  it('are the same for a key and others for another', async () => {
    const [a, again, b] = [await draw(3), await draw(3), await draw(4)]
    expect(a.seen).toEqual(again.seen)
    expect(a.chosen).not.toEqual(b.chosen)
  })

  it('refuse shares above all and a token that is not there', () => {
    const model = { vocab, logits: () => tensor([0]) }
    expect(() => masked(model, { ...options, maskToken: 50 })).toThrow(/outside the vocabulary of 50/)
    expect(() => masked(model, { ...options, replaced: 0.3 })).toThrow(/more than all/)
  })
})
