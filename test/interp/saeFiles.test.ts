/** SAEs in the folders of SAELens and sparsify: what they compute is what PyTorch says (sae.py), and writing is stable. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { type Tensor, tensor, zeros } from '../../src/array/index.ts'
import { readSae, readSaeLens, writeSaeLens, writeSparsify } from '../../src/interp/sae/files/index.ts'
import {
  decode,
  encode,
  foldScale,
  reconstruct,
  type Sae,
  type SaeParams,
} from '../../src/interp/sae/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openSafetensors, readFloats, writeSafetensors } from '../../src/store/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-sae-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})
const fixtures = fileURLToPath(new URL('../fixtures/sae', import.meta.url))
const { x: rows, folders } = JSON.parse(readFileSync(join(fixtures, 'sae.json'), 'utf8')) as {
  x: number[][]
  folders: Record<string, { features: number[][]; reconstruction: number[][] }>
}
const x = tensor(Float32Array.from(rows.flat()), [9, 6])

async function compute(sae: Sae, input: Tensor): Promise<{ features: number[]; given: number[] }> {
  const program = engine.jit((params: SaeParams, x: Tensor) => {
    const own = { ...sae, params }
    const features = encode(own, x)
    return { features, given: decode(own, features, x), same: reconstruct(own, x) }
  })
  const { features, given, same } = await program(sae.params, input)
  program.dispose()
  expect(same.data).toEqual(given.data)
  return { features: [...(features.data as Float32Array)], given: [...(given.data as Float32Array)] }
}

const close = (found: readonly number[], wanted: readonly number[]): void => {
  expect(found.length).toBe(wanted.length)
  wanted.forEach((value, i) => {
    expect(Math.abs(found[i]! - value)).toBeLessThan(1e-5)
  })
}

describe('an SAE as it was published', () => {
  for (const [name, wanted] of Object.entries(folders))
    test(name, async () => {
      const { sae, ignored } = readSae(join(fixtures, name))
      expect(ignored).toEqual([])
      const { features, given } = await compute(sae, x)
      close(features, wanted.features.flat())
      close(given, wanted.reconstruction.flat())
    })

  test('says where it belongs', () => {
    const { config } = readSae(join(fixtures, 'transcoder')).sae
    expect(config).toMatchObject({
      site: 'blocks.0.ln2.hook_normalized',
      siteOut: 'blocks.0.hook_mlp_out',
      dIn: 6,
      dOut: 5,
    })
    cpSync(join(fixtures, 'sparsify'), join(folder, 'layers.3'), { recursive: true })
    expect(readSae(join(folder, 'layers.3')).sae.config.site).toBe('blocks.3.hook_resid_post')
  })
})

describe('writing', () => {
  for (const name of Object.keys(folders))
    test(`${name}: what is read again is the same, and its files too`, async () => {
      const { sae } = readSae(join(fixtures, name))
      const write = name === 'sparsify' ? writeSparsify : writeSaeLens
      const [first, second] = [join(folder, `${name}-1`), join(folder, `${name}-2`)]
      write(first, sae)
      write(second, readSae(first).sae)
      expect(readdirSync(first).sort()).toEqual(readdirSync(second).sort())
      for (const file of readdirSync(first))
        expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file))), file).toBe(true)
      const [before, after] = [await compute(sae, x), await compute(readSae(first).sae, x)]
      expect(after).toEqual(before)
    })

  test('densities as log10, in sparsity.safetensors', () => {
    const { sae } = readSae(join(fixtures, 'gated'))
    writeSaeLens(join(folder, 'dense'), sae, { density: [0, 0.1, 1, ...new Array(9).fill(0.01)] })
    const { tensors } = openSafetensors(join(folder, 'dense', 'sparsity.safetensors'))
    const found = [...(readFloats(tensors.get('sparsity')!) as Float32Array)]
    expect(found.slice(0, 4)).toEqual([Number.NEGATIVE_INFINITY, -1, 0, -2])
  })

  test('half precision, which the configuration tells', async () => {
    const { sae } = readSae(join(fixtures, 'gated'))
    writeSaeLens(join(folder, 'half'), sae, { dtype: 'f16' })
    expect(JSON.parse(readFileSync(join(folder, 'half', 'cfg.json'), 'utf8'))).toMatchObject({
      dtype: 'float16',
    })
    for (const { type } of openSafetensors(join(folder, 'half', 'sae_weights.safetensors')).tensors.values())
      expect(type).toBe('f16')
    const [exact, rounded] = [sae.params.W_dec, readSae(join(folder, 'half')).sae.params.W_dec]
    // 11 bits of a fraction.
    for (const [i, value] of (exact.data as Float32Array).entries())
      expect(Math.abs((rounded.data as Float32Array)[i]! - value)).toBeLessThanOrEqual(
        Math.abs(value) / 2048 + 1e-7,
      )
  })

  test('what a layout has not is refused', () => {
    const { sae } = readSae(join(fixtures, 'jumprelu'))
    expect(() => writeSparsify(join(folder, 'no'), sae)).toThrow(
      /sparsify has no SAEs of the architecture jumprelu/,
    )
    const topk = readSae(join(fixtures, 'sparsify')).sae
    const transcoder = { ...topk, config: { ...topk.config, transcoder: true } }
    expect(() => writeSaeLens(join(folder, 'no'), transcoder)).toThrow(/no topk transcoders.*sparsify/)
  })
})

test('a factor folded in gives the same features of activations as they are', async () => {
  const { sae } = readSae(join(fixtures, 'standard'))
  const scaled = tensor(
    (x.data as Float32Array).map((value) => value * 2.5),
    [9, 6],
  )
  const [of, folded] = [await compute(sae, scaled), await compute(foldScale(sae, 2.5), x)]
  close(folded.features, of.features)
  close(
    folded.given,
    of.given.map((value) => value / 2.5),
  )
})

test('a factor that the files do not say has to be measured', async () => {
  const changed = copy('standard', (config) => ({
    ...config,
    normalize_activations: 'expected_average_only_in',
  }))
  const { sae } = readSaeLens(changed)
  expect(() => encode(sae, x)).toThrow(/measure it on the model/)
  const { features } = await compute(foldScale(sae, 1), x)
  close(features, folders.standard!.features.flat())
})

type Config = Record<string, unknown>
let copies = 0
function copy(name: string, change: (config: Config) => Config): string {
  const target = join(folder, `copy-${copies++}`)
  cpSync(join(fixtures, name), target, { recursive: true })
  const path = join(target, 'cfg.json')
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))))
  return target
}

test('a configuration from before version 6', async () => {
  const old = copy('standard', ({ d_in, d_sae }) => ({
    model_name: 'gpt2-small',
    hook_point: 'blocks.8.hook_resid_pre',
    hook_point_head_index: null,
    d_in,
    d_sae,
    dtype: 'float32',
    apply_b_dec_to_input: false,
    activation_fn_str: 'relu',
    normalize_activations: false,
    l1_coefficient: 5,
    n_batches_in_buffer: 64,
  }))
  const { sae, ignored } = readSaeLens(old)
  expect(ignored).toEqual(['l1_coefficient', 'n_batches_in_buffer'])
  expect(sae.config.site).toBe('blocks.8.hook_resid_pre')
  close((await compute(sae, x)).features, folders.standard!.features.flat())
  const topk = copy('standard', ({ d_in, d_sae }) => ({
    d_in,
    d_sae,
    activation_fn: 'topk',
    activation_fn_kwargs: { k: 2 },
    hook_name: 'blocks.1.attn.hook_z',
  }))
  expect(readSaeLens(topk).sae.config).toMatchObject({ architecture: 'topk', k: 2, subtractBias: true })
  const other = copy('standard', ({ d_in, d_sae }) => ({ d_in, d_sae, activation_fn: 'tanh-relu' }))
  expect(() => readSaeLens(other)).toThrow(/cfg.json.*activation 'tanh-relu'/)
})

describe('what does not fit is an error with file and reason', () => {
  const cases: Record<string, readonly [string, (config: Config) => Config, RegExp]> = {
    'an unknown key': ['standard', (c) => ({ ...c, gate: 1 }), /cfg.json.*unknown keys 'gate'/],
    'an unknown architecture': ['standard', (c) => ({ ...c, architecture: 'matryoshka' }), /'architecture'/],
    'topk without k': ['topk', ({ k: _, ...c }) => c, /has no 'k'/],
    'another size': [
      'standard',
      (c) => ({ ...c, d_sae: 13 }),
      /sae_weights.safetensors.*'W_enc' is \[6,12\], not \[6,13\]/,
    ],
    'weights of another architecture': [
      'gated',
      (c) => ({ ...c, architecture: 'standard' }),
      /has a tensor 'b_gate'/,
    ],
    'a missing weight': [
      'standard',
      (c) => ({ ...c, architecture: 'jumprelu' }),
      /has no tensor 'threshold'/,
    ],
    'one head': [
      'standard',
      (c) => ({ ...c, metadata: { ...(c.metadata as object), hook_head_index: 3 } }),
      /single head 3/,
    ],
  }
  for (const [title, [name, change, message]] of Object.entries(cases))
    test(title, () => {
      expect(() => readSaeLens(copy(name, change))).toThrow(message)
    })

  test('a folder without an SAE', () => {
    expect(() => readSae(folder)).toThrow(/neither sae_weights.safetensors/)
  })

  test('sparsify: groupmax, and unknown keys', () => {
    expect(() => readSae(copy('sparsify', (c) => ({ ...c, activation: 'groupmax' })))).toThrow(/groupmax/)
    expect(() => readSae(copy('sparsify', (c) => ({ ...c, half: true })))).toThrow(/unknown keys half/)
    const target = copy('sparsify', (c) => c)
    writeSafetensors(join(target, 'sae.safetensors'), [
      { name: 'W_dec', dtype: 'f32', shape: [12, 6], data: zeros([12, 6]).data as Float32Array },
    ])
    expect(() => readSae(target)).toThrow(/has no tensor 'encoder.weight'/)
  })
})
