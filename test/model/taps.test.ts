/** Taps: what is read and edited through a cache, alone or in a padded batch, is what an open pass shows. */
import { afterAll, describe, expect, it } from 'vitest'
import { iota, type Tensor, tensor } from '../../src/array/index.ts'
import { type Cache, Model, seal, sites, type TapOptions } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture } from '../reference.ts'

// One thread: these tests compile hundreds of tiny programs, and every pool of threads takes time to make.
const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const ints = (values: readonly number[]): Tensor => tensor(Int32Array.from(values))
const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17) % 61)
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
/** Cached and uncached passes sum in different orders. */
const rounding = { rtol: 1e-4, atol: 5e-5 }
const capacity = 16

interface Pass {
  /** Tokens of each row before this pass, and in it. */
  readonly before: readonly number[]
  readonly counts: readonly number[]
  readonly reads: Readonly<Record<string, Tensor>>
  /** [batch, 1, vocab], after each row's last token */
  readonly last: Float32Array
}

/** Feeds rows through a cache, `counts[i][b]` tokens of row b in pass i; shorter parts are padded. */
async function passes(
  model: Model,
  rows: readonly (readonly number[])[],
  counts: readonly (readonly number[])[],
  taps: TapOptions,
): Promise<Pass[]> {
  let cache: Cache = model.newCache(rows.length, capacity)
  let before = rows.map(() => 0)
  const results: Pass[] = []
  for (const own of counts) {
    const time = Math.max(...own)
    const tokens = rows.map((tokens, b) => {
      const part = tokens.slice(before[b], before[b]! + own[b]!)
      return [...part, ...new Array<number>(time - part.length).fill(0)]
    })
    const input = {
      tokens: model.rows(tokens),
      cache,
      lengths: ints(before),
      at: ints(own.map((n) => n - 1)),
    }
    const step = await model.step(input, taps)
    results.push({ before, counts: own, reads: step.reads, last: floats(step.logits) })
    cache = step.cache
    before = before.map((length, b) => length + own[b]!)
  }
  return results
}

const schedules: readonly (readonly [string, readonly number[][], readonly number[][]])[] = [
  ['one row: a prompt, a token, a chunk', [row(7)], [[4], [1], [2]]],
  [
    'a padded batch: prompts, tokens, chunks',
    [row(10, 1), row(6, 2)],
    [
      [6, 3],
      [1, 1],
      [3, 2],
    ],
  ],
]

/** One token's part of a site: all heads' keys that it may see, or the rest of its row. */
function partOf(x: Tensor, legend: string, b: number, t: number, position: number): Float32Array {
  const data = floats(x)
  if (!legend.includes('keys')) {
    const size = x.sizes.slice(2).reduce((a, c) => a * c, 1)
    return data.slice((b * x.sizes[1]! + t) * size, (b * x.sizes[1]! + t + 1) * size)
  }
  const [, heads, time, keys] = x.sizes as [number, number, number, number]
  const seen = Array.from({ length: heads }, (_, head) => {
    const from = ((b * heads + head) * time + t) * keys
    return [...data.subarray(from, from + position + 1)]
  })
  return Float32Array.from(seen.flat())
}

/** Scores and patterns of keys that a token must not see. */
function hidden(x: Tensor, b: number, t: number, position: number): number[] {
  const [, heads, time, keys] = x.sizes as [number, number, number, number]
  return Array.from({ length: heads }, (_, head) => {
    const from = ((b * heads + head) * time + t) * keys
    return [...floats(x).subarray(from + position + 1, from + keys)]
  }).flat()
}

describe.each(['gpt2-tiny', 'llama-tiny', 'llama-tiny-16', 'families/opt-350m', 'families/mamba'])(
  '%s',
  (name) => {
    const model = Model.open(fixture(name), engine)
    const { vocab } = model.spec
    const all = sites(model.spec)
    const siteOf = (pattern: RegExp): string => [...all.keys()].find((site) => pattern.test(site))!
    /** The last token's logits of each row, without a cache. */
    const alone = async (rows: readonly (readonly number[])[], edit: TapOptions['edit'] = {}) => {
      const logits: Float32Array[] = []
      for (const tokens of rows)
        logits.push(floats((await model.run([tokens], { read: ['logits'], edit })).logits).slice(-vocab))
      return logits
    }

    it.each(schedules)('reads every site: %s', async (_, rows, counts) => {
      const read = [...all.keys()]
      const open: Record<string, Tensor>[] = []
      for (const tokens of rows) open.push(await model.run([tokens], { read }))
      const results = await passes(model, rows, counts, { read })
      let compared = 0
      for (const [site, legend] of all)
        for (const { before, counts, reads } of results) {
          // Only the wanted row of each is worked out to the end.
          const onlyLast = site === 'logits' || site === 'ln_final.hook_normalized'
          rows.forEach((_, b) => {
            for (let t = onlyLast ? counts[b]! - 1 : 0; t < counts[b]!; t++) {
              const position = before[b]! + t
              const at = `${site}, row ${b}, token ${position}`
              const own = partOf(reads[site]!, legend, b, onlyLast ? 0 : t, position)
              allClose(own, partOf(open[b]![site]!, legend, 0, position, position), { ...rounding, name: at })
              if (legend.includes('keys')) {
                const nothing = site.endsWith('scores') ? Number.NEGATIVE_INFINITY : 0
                expect(new Set(hidden(reads[site]!, b, t, position)), at).toEqual(new Set([nothing]))
              }
              compared++
            }
          })
        }
      expect(compared).toBeGreaterThan(all.size * 3)
    })

    const [[, one, oneCounts], [, batch, batchCounts]] = schedules as [
      (typeof schedules)[number],
      (typeof schedules)[number],
    ]
    // Padding is fed as token 0 and edited like any other; nothing of it may reach a row's own tokens.
    const modes = [
      ['cached', one, oneCounts],
      ['batched', batch, batchCounts],
    ] as const

    /** An edit's outcome without a cache, held against every mode; gives the open logits. */
    async function inAllModes(edit: NonNullable<TapOptions['edit']>, name: string) {
      const outcomes: Float32Array[] = []
      for (const [mode, rows, counts] of modes) {
        const expected = await alone(rows, edit)
        const { last } = (await passes(model, rows, counts, { edit })).at(-1)!
        const joined = expected.flatMap((logits) => [...logits])
        allClose(last, joined, { ...rounding, name: `${name}, ${mode}` })
        outcomes.push(...expected)
      }
      return outcomes
    }

    it('changes nothing by edits that change nothing', async () => {
      const same = Object.fromEntries([...all.keys()].map((site) => [site, (x: Tensor) => x.add(0)]))
      const plain = await inAllModes({}, 'plain')
      const kept = await inAllModes(same, 'identity')
      plain.forEach((logits, b) => {
        allClose(kept[b]!, logits, { ...rounding, name: `row ${b}` })
      })
    })

    it('edits at every site, open, cached and batched', async () => {
      const plain = await inAllModes({}, 'plain')
      for (const site of all.keys()) {
        // A norm would undo a factor of all that enters it.
        const edited = await inAllModes(
          { [site]: (x: Tensor) => (site.includes('resid') ? x.abs() : x.mul(0.5)) },
          site,
        )
        plain.forEach((logits, b) => {
          const change = logits.reduce((most, x, i) => Math.max(most, Math.abs(x - edited[b]![i]!)), 0)
          expect(change, `${site} changes row ${b}`).toBeGreaterThan(1e-4)
        })
        model.dispose()
      }
    }, 240_000)

    it('edits one position of one row only', async () => {
      const [tokens, other] = [row(6, 1), row(6, 2)]
      const site = 'blocks.1.hook_resid_pre'
      // Sizes are symbols inside a program, so places are counted there.
      const edit = {
        [site]: (x: Tensor) => {
          const [rows, positions] = [iota(x.shape[0]!), iota(x.shape[1]!)]
          const chosen = rows.equal(0).expandDims(-1).and(positions.equal(3)).expandDims(-1)
          return chosen.where(x.neg(), x)
        },
      }
      const { logits } = await model.run([tokens, other])
      const edited = await model.run([tokens, other], { read: ['logits'], edit })
      const change = (position: number): number => {
        const [a, b] = [logits!, edited.logits!].map((x) =>
          floats(x).subarray(position * vocab, (position + 1) * vocab),
        )
        return a!.reduce((most, x, i) => Math.max(most, Math.abs(x - b![i]!)), 0)
      }
      const changed = Array.from({ length: 12 }, (_, position) => change(position) > 1e-4)
      expect(changed).toEqual([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0].map(Boolean))
    })

    it('reads what an edit has made of a site', async () => {
      const site = siteOf(/^blocks\.0\.hook_(mlp|ssm)_out$/)
      const edit = { [site]: (x: Tensor) => x.mul(2) }
      const plain = await model.run([row(5)], { read: [site] })
      const doubled = await model.run([row(5)], { read: [site], edit })
      const expected = floats(plain[site]).map((x) => 2 * x)
      allClose(floats(doubled[site]), expected, { ...rounding, name: site })
    })

    it('reads and edits in a sealed model as in an open one', async () => {
      const read = [...all.keys()]
      const edit = { [siteOf(/^blocks\.1\..*hook_z$/)]: (x: Tensor) => x.mul(0.5) }
      const open = await model.run([row(6)], { read, edit })
      using sealed = seal(model, { read, edit })
      const own = await sealed.run([row(6)])
      for (const site of read)
        allClose(floats(own[site]), floats(open[site]), {
          ...rounding,
          name: site,
          where: (_, e) => e > -1e29,
        })
    })
  },
)

describe('refusals', () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  const run = (options: TapOptions) => model.run([row(3)], options)

  it('suggests sites', async () => {
    const unknown = /no site 'blocks\.0\.hook_residual_pre'; did you mean .*'blocks\.0\.hook_resid_pre'/
    await expect(run({ read: ['blocks.0.hook_residual_pre'] })).rejects.toThrow(unknown)
    const edit = { 'blocks.0.hook_residual_pre': (x: Tensor) => x }
    await expect(run({ edit })).rejects.toThrow(unknown)
    await expect(run({ read: ['blocks.2.attn.pattern'] })).rejects.toThrow(/'blocks\.2\.attn\.hook_pattern'/)
    await expect(run({ read: ['blocks.9.hook_resid_pre'] })).rejects.toThrow(/layers 0 to 2/)
    await expect(run({ read: ['hook_pos_embed'] })).rejects.toThrow(/no site 'hook_pos_embed'/)
    expect(model.compilations).toBe(0)
  })

  it.each([
    ['fewer axes', (x: Tensor) => x.sum(-1)],
    ['another size', (x: Tensor) => x.slice(-1, 0, 8)],
    ['another type', (x: Tensor) => x.cast('f64')],
    ['an axis of one name for another', (x: Tensor) => x.transpose([1, 0, 2])],
  ])('refuses an edit that gives %s', async (_, edit) => {
    const message = /the edit at 'hook_embed' made .* of f32\[.*32\]; it must keep the type/
    await expect(run({ read: ['logits'], edit: { hook_embed: edit } })).rejects.toThrow(message)
    const input = {
      tokens: model.rows([row(3)]),
      cache: model.newCache(1, 4),
      lengths: ints([0]),
      at: ints([2]),
    }
    await expect(model.step(input, { edit: { hook_embed: edit } })).rejects.toThrow(message)
  })
})
