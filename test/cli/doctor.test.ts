/** `glossa doctor`: finds deliberately broken checkpoints, and says where they part from a reference. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { fixture } from '../reference.ts'
import { glossa } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-doctor-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A copy of the tiny Llama with something wrong with it. */
function broken(name: string, breakIt: (path: string) => void): string {
  const path = join(folder, name)
  cpSync(fixture('llama-tiny'), path, { recursive: true })
  breakIt(path)
  return path
}

/** Changes f32 tensors of a safetensors file where they lie. */
function changeTensors(path: string, change: (view: (name: string) => Float32Array) => void): void {
  const file = join(path, 'model.safetensors')
  const bytes = new Uint8Array(readFileSync(file))
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)))
  const copies = new Map<string, Float32Array>()
  change((name) => {
    const [from, to] = header[name].data_offsets as [number, number]
    const copy = new Float32Array(bytes.slice(start + from, start + to).buffer)
    copies.set(name, copy)
    return copy
  })
  for (const [name, values] of copies)
    bytes.set(new Uint8Array(values.buffer), start + header[name].data_offsets[0])
  writeFileSync(file, bytes)
}

const reference = join(fixture('llama-tiny'), 'reference.safetensors')
const width = 32

const cases: readonly [string, (path: string) => void, RegExp, RegExp][] = [
  [
    'a transposed weight',
    (path) =>
      changeTensors(path, (view) => {
        const weight = view('model.layers.1.self_attn.q_proj.weight')
        const old = weight.slice()
        for (let i = 0; i < width; i++)
          for (let j = 0; j < width; j++) weight[i * width + j] = old[j * width + i]!
      }),
    /^blocks\.1\.attn\.hook_q$/,
    /projection of queries/,
  ],
  [
    'swapped norms',
    (path) =>
      changeTensors(path, (view) => {
        const [a, b] = [
          view('model.layers.2.input_layernorm.weight'),
          view('model.layers.2.post_attention_layernorm.weight'),
        ]
        const old = a.slice()
        a.set(b)
        b.set(old)
      }),
    /^blocks\.2\.ln1\.hook_normalized$/,
    /norm before attention/,
  ],
  [
    'a wrong rope base',
    (path) => {
      const file = join(path, 'config.json')
      const config = JSON.parse(readFileSync(file, 'utf8'))
      writeFileSync(file, JSON.stringify({ ...config, rope_theta: 5000 }))
    },
    /^blocks\.0\.attn\.hook_rot_q$/,
    /rotary positions: base/,
  ],
]

describe('with a reference', () => {
  it('certifies a sound model', async () => {
    const { code, stdout } = await glossa(
      'doctor',
      '-m',
      fixture('llama-tiny'),
      '--reference',
      reference,
      '--json',
    )
    const result = JSON.parse(stdout)
    expect(result.healthy).toBe(true)
    expect(code).toBe(0)
    const names = result.checks.map(({ name }: { name: string }) => name)
    expect(names.slice(0, 5)).toEqual([
      'reference',
      'sealed f32',
      'sealed int8',
      'sealed int4',
      'token by token',
    ])
    for (const { exact, result: own } of result.checks)
      if (exact && own) expect(own.worst.relative).toBeLessThan(1e-4)
  })

  it.each(cases)('finds %s', async (name, breakIt, site, words) => {
    const path = broken(name.replaceAll(' ', '-'), breakIt)
    const { code, stdout } = await glossa('doctor', '-m', path, '--reference', reference, '--json')
    const [check] = JSON.parse(stdout).checks
    expect(check.result.first.site).toMatch(site)
    expect(code).toBe(1)
    // Another model serves as reference too, and people are told in words.
    const told = await glossa('doctor', '-m', path, '--reference', fixture('llama-tiny'))
    expect(told.code).toBe(1)
    expect(told.stdout).toMatch(words)
  })
})

it('tells what runs here', async () => {
  const { code, stdout } = await glossa('doctor', '--json')
  expect(code).toBe(0)
  expect(JSON.parse(stdout).providers).toContain('cpu')
})
