/** Damaged and hostile configurations: a model or an error that names the file and the reason, never anything else. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DecoderSpec, load } from '../../src/model/index.ts'
import { fixture } from '../reference.ts'

const factor = Number(process.env.GLOSSA_FUZZ_RUNS ?? 1)
const settings = { numRuns: 200 * factor, ...(factor === 1 && { seed: 7 }) }

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'glossa-fuzz-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Loads the fixture's weights with another configuration. */
function loadWith(name: string, config: string | Uint8Array): void {
  const path = mkdtempSync(join(folder, 'model-'))
  symlinkSync(join(fixture(name), 'model.safetensors'), join(path, 'model.safetensors'))
  writeFileSync(join(path, 'config.json'), config)
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
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).message).toContain(path)
    expect((error as Error).message.length).toBeLessThan(3000)
  }
  expect(performance.now() - start).toBeLessThan(2000)
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

it('names an unknown key', () => {
  const config = JSON.parse(readFileSync(join(fixture('llama-tiny'), 'config.json'), 'utf8')) as object
  const path = mkdtempSync(join(folder, 'model-'))
  symlinkSync(join(fixture('llama-tiny'), 'model.safetensors'), join(path, 'model.safetensors'))
  writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, logit_softcap: 30 }))
  expect(() => load(path)).toThrow(/config\.json: llama configuration: unknown keys 'logit_softcap'/)
})
