/** Damaged and hostile configurations: a model or an error that names the file and the reason, never anything else. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { convertToGguf, type DecoderSpec, load } from '../../src/model/index.ts'
import { type GgufValue, openGguf, readBytes, writeGguf } from '../../src/store/index.ts'
import { fixture } from '../reference.ts'
import { damage, damaged, factor, runs } from './mutations.ts'

const settings = runs(200)
vi.setConfig({ testTimeout: 60_000 * factor })

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'glossa-fuzz-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Loads the fixture's weights with another configuration, or with one of generation. */
function loadWith(name: string, config: string | Uint8Array, generation?: string | Uint8Array): void {
  const path = mkdtempSync(join(folder, 'model-'))
  symlinkSync(join(fixture(name), 'model.safetensors'), join(path, 'model.safetensors'))
  writeFileSync(join(path, 'config.json'), config)
  if (generation !== undefined) writeFileSync(join(path, 'generation_config.json'), generation)
  const start = performance.now()
  try {
    const model = load(path)
    // What is accepted must fit the weights: the fixture's own configuration, but for harmless keys.
    const original = load(fixture(name)).spec
    // Weights do not show how many heads share them.
    const shape = ({ vocab, width, layers, ffn, layout }: DecoderSpec) => [
      vocab,
      width,
      layers,
      ffn!.hidden,
      layout,
    ]
    expect(shape(model.spec)).toEqual(shape(original))
    for (const end of model.ends) expect(Number.isSafeInteger(end) && end >= 0).toBe(true)
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).message).toContain(path)
    expect((error as Error).message.length).toBeLessThan(3000)
  }
  expect(performance.now() - start).toBeLessThan(2000)
  rmSync(path, { recursive: true })
}

const strange = fc.oneof(
  fc.constantFrom(0, -1, 1.5, 1e9, 1e308, 2 ** 53, null, true, false, '', 'gelu', [], {}, 'x'.repeat(1000)),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.jsonValue({ maxDepth: 3 }),
)

describe.each(['gpt2-tiny', 'llama-tiny'])('%s', (name) => {
  const text = readFileSync(join(fixture(name), 'config.json'), 'utf8')
  const config = JSON.parse(text) as Record<string, unknown>

  it('survives strange values', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(config)), strange, (key, value) =>
        loadWith(name, JSON.stringify({ ...config, [key]: value })),
      ),
      settings,
    )
  })

  it('survives missing and unknown keys', () => {
    fc.assert(
      fc.property(
        fc.subarray(Object.keys(config)),
        fc.dictionary(fc.string(), strange, { maxKeys: 2 }),
        (kept, extra) =>
          loadWith(
            name,
            JSON.stringify({ ...Object.fromEntries(kept.map((key) => [key, config[key]])), ...extra }),
          ),
      ),
      settings,
    )
  })

  it('survives damaged bytes', () => {
    const bytes = Buffer.from(text)
    fc.assert(
      fc.property(
        fc.nat(bytes.length),
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 4 }),
        (length, changes) => {
          const damaged = Buffer.from(bytes.subarray(0, length))
          for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value
          loadWith(name, damaged)
        },
      ),
      settings,
    )
  })
})

describe('generation_config.json', () => {
  const config = readFileSync(join(fixture('llama-tiny'), 'config.json'))

  it('survives strange values', () => {
    const generation = fc.record(
      { eos_token_id: fc.oneof(strange, fc.array(strange)), bos_token_id: strange, temperature: strange },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(generation, strange), (value) =>
        loadWith('llama-tiny', config, JSON.stringify(value)),
      ),
      settings,
    )
  })

  it('survives damaged bytes', () => {
    const bytes = Buffer.from(JSON.stringify({ bos_token_id: 1, eos_token_id: [2, 3], do_sample: true }))
    fc.assert(
      fc.property(damage, (changes) => loadWith('llama-tiny', config, damaged(bytes, changes))),
      settings,
    )
  })
})

it('metadata of GGUF files with values and keys changed', () => {
  const path = join(folder, 'm.gguf')
  const names = ['llama-tiny', 'gpt2-tiny', 'families/gpt-neox', 'families/olmo', 'families/qwen3']
  const samples = names.map((name) => {
    const file = join(folder, `${name.replace('/', '-')}.gguf`)
    convertToGguf(fixture(name), file, 'f32')
    const { metadata, tensors } = openGguf(file)
    const sources = [...tensors.values()].map((entry) => ({ ...entry, data: () => readBytes(entry) }))
    return { metadata, sources }
  })
  const value = fc.oneof(
    fc.constantFrom<GgufValue>(
      ...([0, 1, 2, 7, 64, 2 ** 31, 2 ** 32 - 1].map((n) => ['u32', n]) as GgufValue[]),
      ...([-1, 0, 0.5, 1e30, Number.NaN, Number.POSITIVE_INFINITY].map((n) => ['f32', n]) as GgufValue[]),
      ...([
        ['bool', false],
        ['string', 'linear'],
        ['string[]', ['a']],
        ['u64', 2n ** 60n],
      ] as GgufValue[]),
    ),
  )
  const typed = (given: unknown): GgufValue =>
    typeof given === 'string'
      ? ['string', given]
      : typeof given === 'boolean'
        ? ['bool', given]
        : [Number.isInteger(given) ? 'u32' : 'f32', given as number]
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.nat(),
      fc.boolean(),
      value,
      ({ metadata, sources }, at, drop, other) => {
        const entries = Object.entries(metadata).map(([key, given]): [string, GgufValue] => [
          key,
          typed(given),
        ])
        const i = at % entries.length
        if (drop) entries.splice(i, 1)
        else entries[i] = [entries[i]![0], other]
        writeGguf(path, Object.fromEntries(entries), sources)
        try {
          load(path)
        } catch (error) {
          expect((error as Error).message).toContain(path)
          expect((error as Error).message.length).toBeLessThan(3000)
        }
      },
    ),
    settings,
  )
})

it('names an unknown key', () => {
  const config = JSON.parse(readFileSync(join(fixture('llama-tiny'), 'config.json'), 'utf8')) as object
  const path = mkdtempSync(join(folder, 'model-'))
  symlinkSync(join(fixture('llama-tiny'), 'model.safetensors'), join(path, 'model.safetensors'))
  writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, logit_softcap: 30 }))
  expect(() => load(path)).toThrow(/config\.json: llama configuration: unknown keys 'logit_softcap'/)
})
