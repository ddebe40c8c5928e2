/**
 * Damaged and hostile answers of a hub: a model in the cache, or a HubError; nothing is ever written outside of the
 * cache's folder.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { FileError, HubError, hubSettings, parseReference, pull } from '../../src/store/index.ts'
import { change, damage, damaged, factor, mutated, runs, strange } from './mutations.ts'

vi.setConfig({ testTimeout: 60_000 * factor })
const parameters = runs(150)

const folder = mkdtempSync(join(tmpdir(), 'glossa-fuzz-hub-'))
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => vi.unstubAllGlobals())

const file = (rfilename: string, size = 2) => ({ rfilename, size, blobId: 'a'.repeat(40) })
const listing = () => ({
  sha: '0123456789abcdef0123456789abcdef01234567',
  siblings: [
    ...[file('config.json'), file('tokenizer.json'), file('README.md')],
    { ...file('model.safetensors'), lfs: { size: 2, sha256: 'b'.repeat(64) } },
  ],
})

/** Pulls from a hub that answers listings with `body` and files with two bytes. */
async function probe(
  body: string | null,
  headers: Record<string, string> = {},
  status = 200,
): Promise<string> {
  const outside = join(folder, 'outside')
  const home = join(outside, 'home')
  mkdirSync(home, { recursive: true })
  vi.stubGlobal('fetch', (url: string, { method }: RequestInit) => {
    if (url.includes('/api/models/')) return Promise.resolve(new Response(body, { status, headers }))
    return Promise.resolve(
      new Response(method === 'HEAD' ? null : '{}', {
        headers: { etag: '"abcdefgh"', 'content-length': '2' },
      }),
    )
  })
  const settings = { ...hubSettings({ HF_HOME: home, HF_TOKEN_PATH: join(folder, 'none') }), retryMs: 0 }
  const began = performance.now()
  let outcome = 'pulled'
  try {
    const { path } = await pull(parseReference('org/name')!, settings)
    expect(path.startsWith(home)).toBe(true)
  } catch (error) {
    // What came is not what its name says: two bytes have one hash only.
    if (!(error instanceof HubError || error instanceof FileError)) throw error
    expect(error.message.length).toBeLessThan(6000)
    outcome = 'refused'
  }
  expect(performance.now() - began, 'milliseconds').toBeLessThan(5000)
  expect(readdirSync(folder)).toEqual(['outside'])
  expect(readdirSync(outside)).toEqual(['home'])
  rmSync(outside, { recursive: true })
  return outcome
}

describe('listings', () => {
  it('with parts changed', () =>
    fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        await probe(JSON.stringify(changes.reduce<unknown>(mutated, listing())) ?? '')
      }),
      parameters,
    ))

  it('with bytes changed', () =>
    fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        await probe(damaged(Buffer.from(JSON.stringify(listing())), changes).toString('latin1'))
      }),
      parameters,
    ))

  it('with names, hashes and headers from strangers', () => {
    const name = fc.oneof(
      fc.constantFrom(
        '../../x.gguf',
        '/etc/x.gguf',
        'a/../../b.gguf',
        'C:\\x.gguf',
        'x.gguf\0',
        '.',
        '..',
        'a//b.gguf',
      ),
      fc.constantFrom('config.json', 'model.safetensors', 'model.safetensors.index.json', 'x.Q4_0.gguf'),
      fc.string({ unit: 'binary' }),
    )
    const hash = fc.oneof(fc.constantFrom('../../../escape', 'a'.repeat(40), '', 'x/y', '..'), fc.string())
    const siblings = fc.array(
      fc.record({ rfilename: name, size: fc.oneof(fc.nat(3), strange), blobId: hash }),
      {
        maxLength: 5,
      },
    )
    const header = fc.dictionary(
      fc.constantFrom('x-error-code', 'retry-after', 'content-type'),
      fc.constantFrom('GatedRepo', '0', '-1', 'x'),
    )
    return fc.assert(
      fc.asyncProperty(
        siblings,
        header,
        fc.constantFrom(200, 200, 200, 204, 302, 401, 404, 429, 418),
        async (list, headers, status) => {
          const body =
            status === 204 || status === 302 ? null : JSON.stringify({ ...listing(), siblings: list })
          await probe(body, headers, status)
        },
      ),
      parameters,
    )
  })
})
