/** Activations: streamed and cached ones are those that `run` reads, and a stopped cache goes on. */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ActivationCache, cacheActivations } from '../../src/interp/activations/cache.ts'
import {
  ActivationSource,
  ActivationStream,
  normScale,
  sampleOf,
  specialTokens,
} from '../../src/interp/activations/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tinyCorpus, tinyModel } from './tiny.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const base = mkdtempSync(join(tmpdir(), 'glossa-activations-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(base, { recursive: true })
})
const model = tinyModel(engine)
const tokens = tinyCorpus(1000)
const sites = ['blocks.0.hook_resid_post', 'blocks.1.attn.hook_z']
const options = { model, tokens, sites, length: 10, windows: 4 }

test('rows are what run reads, without the tokens that are left out', async () => {
  const source = new ActivationSource({ ...options, begin: 3, exclude: [0, 3] })
  expect(source.chunks).toBe(Math.ceil(Math.floor(1000 / 9) / 4))
  const chunk = await source.at(2)
  const places = source.places(2)
  expect(chunk.count).toBe(source.count(2))
  expect(places.length).toBe(chunk.count)
  const windows = source.tokensOf(2)
  const reads = await model.run(windows, { read: sites })
  let row = 0
  for (let i = 0; i < 40; i++) {
    const token = windows.data[i]!
    if (token === 0 || token === 3) continue
    expect(tokens[places[row]!]).toBe(token)
    for (const site of sites) {
      const all = reads[site]!.data as Float32Array
      const width = all.length / 40
      expect(width).toBe(16)
      expect([...chunk.rows[site]!.subarray(row * width, (row + 1) * width)]).toEqual([
        ...all.subarray(i * width, (i + 1) * width),
      ])
    }
    row++
  }
  expect(row).toBe(chunk.count)
  expect(specialTokens({ bos: 0, eos: 0, pad: undefined })).toEqual([0])
})

test('a stream serves each row at most once in an epoch, mixes rounds, and any step by itself', async () => {
  const source = new ActivationSource({ ...options, sites: [sites[0]!], seed: 5, exclude: [0] })
  const stream = (scale = 1) =>
    new ActivationStream({ source, batch: 16, buffer: 320, seed: 9, scale: { [sites[0]!]: scale } })
  const inOrder = stream()
  const batches = []
  for (let i = 0; i < 40; i++) batches.push((await inOrder.at(i))[sites[0]!]!)
  for (const batch of batches) expect(batch.sizes).toEqual([16, 16])
  // The same rows when a run begins at step 33.
  expect((await stream().at(33))[sites[0]!]!.data).toEqual(batches[33]!.data)
  expect((await stream(2).at(33))[sites[0]!]!.data).toEqual(
    (batches[33]!.data as Float32Array).map((x) => 2 * x),
  )
  // Each row as often as forward passes have given it: rows at the begin of windows may be alike.
  const left = new Map<string, number>()
  for (let i = 0; i < 24; i++) {
    const { rows, count } = await source.at(i)
    for (let j = 0; j < count; j++) {
      const row = `${rows[sites[0]!]!.subarray(j * 16, (j + 1) * 16)}`
      left.set(row, (left.get(row) ?? 0) + 1)
    }
  }
  for (const batch of batches)
    for (let i = 0; i < 16; i++) {
      const row = `${(batch.data as Float32Array).subarray(i * 16, (i + 1) * 16)}`
      expect(left.get(row)).toBeGreaterThan(0)
      left.set(row, left.get(row)! - 1)
    }
  // A batch has rows of two rounds: of the chunks before and after the first four.
  const chunkRows = async (from: number, to: number) => {
    const rows = new Set<string>()
    for (let i = from; i < to; i++) {
      const { rows: found, count } = await source.at(i)
      for (let j = 0; j < count; j++) rows.add(`${found[sites[0]!]!.subarray(j * 16, (j + 1) * 16)}`)
    }
    return rows
  }
  const [first, second] = [await chunkRows(0, 4), await chunkRows(4, 8)]
  const later = batches[8]!.data as Float32Array
  const origin = Array.from({ length: 16 }, (_, i) => `${later.subarray(i * 16, (i + 1) * 16)}`)
  expect(origin.some((row) => first.has(row))).toBe(true)
  expect(origin.some((row) => second.has(row))).toBe(true)
})

test('a stream refuses what has no rows for it', () => {
  const source = new ActivationSource({ ...options, seed: 5 })
  expect(() => new ActivationStream({ source, batch: 16, buffer: 70, seed: 1 })).toThrow(
    /no room for two chunks/,
  )
  expect(() => new ActivationStream({ source: new ActivationSource(options), batch: 16, seed: 1 })).toThrow(
    /seed/,
  )
  expect(() => new ActivationSource({ ...options, sites: ['blocks.0.attn.hook_pattern'] })).toThrow(
    /not one row of numbers/,
  )
  expect(() => new ActivationSource({ ...options, length: 99 })).toThrow(/the model takes 1 to 32/)
})

test('the scale makes rows √width long on average', async () => {
  const source = new ActivationSource({ ...options, seed: 5 })
  const sample = await sampleOf(source, 300)
  expect(sample.count).toBeGreaterThanOrEqual(300)
  const rows = sample.rows[sites[0]!]!
  const scale = normScale(rows, sample.count)
  let sum = 0
  for (let i = 0; i < sample.count; i++) sum += scale * Math.hypot(...rows.subarray(i * 16, (i + 1) * 16))
  expect(sum / sample.count).toBeCloseTo(4, 4)
})

for (const dtype of ['f32', 'f16'] as const)
  test(`a ${dtype} cache that was stopped ends with the same bytes`, async () => {
    const source = new ActivationSource({ ...options, exclude: [0] })
    const [whole, parts] = [join(base, `whole-${dtype}`), join(base, `parts-${dtype}`)]
    const cache = (await cacheActivations({ folder: whole, source, dtype }))!
    // Stopped by a signal, then killed: bytes behind what the manifest counts.
    for (const after of [3, 11]) {
      const stop = new AbortController()
      const stopped = await cacheActivations({
        folder: parts,
        source,
        dtype,
        every: 2,
        signal: stop.signal,
        progress: ({ chunks }) => chunks >= after && stop.abort(),
      })
      expect(stopped).toBeUndefined()
      expect(() => ActivationCache.open(parts)).toThrow(/is not finished/)
      const file = join(parts, `blocks.0.hook_resid_post.${dtype}`)
      writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('torn')]))
    }
    await cacheActivations({ folder: parts, source, dtype })
    const manifest = (folder: string) => JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'))
    expect(manifest(parts)).toEqual(manifest(whole))
    for (const name of readdirSync(whole).filter((file) => file !== 'manifest.json'))
      expect(readFileSync(join(parts, name)).equals(readFileSync(join(whole, name))), name).toBe(true)

    let row = 0
    for (let i = 0; i < source.chunks; i++) {
      const chunk = await source.at(i)
      const numbers = Array.from({ length: chunk.count }, (_, j) => row + j)
      for (const site of sites) {
        const read = cache.read(site, numbers)
        chunk.rows[site]!.forEach((x, j) => {
          expect(Math.abs(read[j]! - x)).toBeLessThanOrEqual(dtype === 'f32' ? 0 : Math.abs(x) / 1024 + 1e-7)
        })
      }
      expect([...cache.places(row, row + chunk.count)]).toEqual([...source.places(i)])
      row += chunk.count
    }
    expect(cache.rows).toBe(row)
    expect(() => cache.read(sites[0]!, [row])).toThrow(/row/)
    expect(() => cache.read('nowhere', [0])).toThrow(/has no site 'nowhere'/)
    const batches = cache.batches({ batch: 32, seed: 4 })
    const batch = await batches.at(batches.perEpoch! + 1)
    expect(batch[sites[1]!]!.sizes).toEqual([32, 16])
  })

test('a cache of something else, or cut short, is an error that names it', async () => {
  const folder = join(base, 'whole-f32')
  const other = (changes: object) =>
    cacheActivations({ folder, source: new ActivationSource({ ...options, exclude: [0], ...changes }) })
  await expect(other({ exclude: [] })).rejects.toThrow(/manifest.json.*another 'exclude'/)
  await expect(other({ tokens: tinyCorpus(999) })).rejects.toThrow(/another 'tokens'/)
  await expect(other({ model: tinyModel(engine, { intermediate_size: 24 }) })).rejects.toThrow(
    /another 'model'/,
  )
  const file = join(folder, 'blocks.0.hook_resid_post.f32')
  truncateSync(file, statSync(file).size - 4)
  expect(() => ActivationCache.open(folder)).toThrow(/blocks.0.hook_resid_post.f32.*cut short/)
  writeFileSync(join(folder, 'manifest.json'), '{}')
  expect(() => ActivationCache.open(folder)).toThrow(/is no manifest of activations/)
})
