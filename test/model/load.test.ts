/** Loading: whatever does not fit is one clear error that names the file and the thing. */
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves } from '../../src/array/index.ts'
import { load } from '../../src/model/index.ts'
import { openSafetensors, readBytes, writeSafetensors } from '../../src/store/index.ts'
import { fixture } from '../reference.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-load-'))
afterAll(() => rmSync(folder, { recursive: true }))

const readJson = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8'))

/** A copy of a fixture, for a test to damage. */
function copyOf(name: string): string {
  const path = mkdtempSync(join(folder, 'variant-'))
  for (const file of ['config.json', 'model.safetensors']) cpSync(join(fixture(name), file), join(path, file))
  return path
}

/** With some keys of its configuration changed; `undefined` takes a key away. */
function withConfig(change: object | string, name = 'llama-tiny'): string {
  const path = copyOf(name)
  const file = join(path, 'config.json')
  writeFileSync(file, typeof change === 'string' ? change : JSON.stringify({ ...readJson(file), ...change }))
  return path
}

/** With other tensors: `change` sees the shapes and may add, take away and reshape. */
function withTensors(change: (shapes: Map<string, number[]>) => void, name = 'llama-tiny'): string {
  const path = copyOf(name)
  const { tensors } = openSafetensors(join(fixture(name), 'model.safetensors'))
  const shapes = new Map([...tensors].map(([tensor, { shape }]) => [tensor, [...shape]]))
  change(shapes)
  writeSafetensors(
    join(path, 'model.safetensors'),
    [...shapes].map(([tensor, shape]) => {
      const entry = tensors.get(tensor)
      const same = entry && `${entry.shape}` === `${shape}`
      const data = same ? readBytes(entry) : new Float32Array(shape.reduce((a, b) => a * b, 1))
      return { name: tensor, dtype: 'f32' as const, shape, data }
    }),
  )
  return path
}

/** The message of the error that loading gives. */
function failure(path: string): string {
  try {
    load(path)
  } catch (error) {
    return (error as Error).message
  }
  throw new Error(`${path} was loaded`)
}

it.each(['gpt2-tiny', 'llama-tiny', 'llama-tiny-16'])('loads %s, every tensor of it', (name) => {
  const { params } = load(fixture(name))
  const { tensors } = openSafetensors(join(fixture(name), 'model.safetensors'))
  expect(leaves(params).length).toBe(tensors.size)
})

describe('configurations', () => {
  type Case = readonly [what: string, config: object | string, message: RegExp, model?: string]
  const cases: readonly Case[] = [
    ['an unknown key', { sliding: 3 }, /llama configuration: unknown keys 'sliding'\./],
    ['two unknown keys', { rope_local: {}, a: 1 }, /unknown keys 'rope_local', 'a'\./],
    [
      'an unknown key of GPT-2',
      { n_experts: 8 },
      /gpt2 configuration: unknown keys 'n_experts'\./,
      'gpt2-tiny',
    ],
    [
      'a value that is not supported',
      { rope_scaling: { type: 'su', factor: 2 } },
      /rope scaling 'su' is not supported/,
    ],
    ['another activation', { hidden_act: 'mish' }, /'hidden_act': /],
    ['a negative size', { hidden_size: -4 }, /'hidden_size': /],
    ['a missing key', { vocab_size: undefined }, /'vocab_size': /],
    ['heads that do not divide', { num_key_value_heads: 3 }, /4 heads do not divide into 3 groups/],
    ['a family that nobody knows', { model_type: 'bloom' }, /'bloom' is not supported.*gpt2.*llama/],
    ['no family', { model_type: undefined }, /has no "model_type"/],
    ['broken JSON', '{"model_type": ', /not valid JSON/],
    ['JSON that is no object', '[]', /has no "model_type"/],
    ['nothing', '', /not valid JSON/],
  ]
  for (const [what, config, message, model] of cases)
    it(what, () => {
      const path = withConfig(config, model)
      const text = failure(path)
      expect(text).toMatch(message)
      expect(text.startsWith(`${join(path, 'config.json')}: `), text).toBe(true)
    })

  it('a missing file', () => {
    const path = copyOf('llama-tiny')
    rmSync(join(path, 'config.json'))
    expect(failure(path)).toBe(
      `${join(path, 'config.json')}: missing; a model folder needs its configuration`,
    )
  })
})

describe('weights', () => {
  const up = 'model.layers.1.mlp.up_proj.weight'
  const cases: readonly (readonly [
    what: string,
    change: (shapes: Map<string, number[]>) => void,
    message: string,
  ])[] = [
    ['a missing one', (shapes) => shapes.delete(up), `'${up}' is missing`],
    ['a misshapen one', (shapes) => shapes.set(up, [3, 4]), `'${up}' is [3, 4], not [88, 32]`],
    ['a transposed one', (shapes) => shapes.set(up, [32, 88]), `'${up}' is [32, 88], not [88, 32]`],
    ['one too many', (shapes) => shapes.set('extra.weight', [2]), "'extra.weight' has no place in the model"],
    [
      'several at once',
      (shapes) => {
        shapes.delete(up)
        shapes.set('extra.weight', [2])
      },
      `'${up}' is missing; 'extra.weight' has no place in the model`,
    ],
  ]
  it.each(cases)('%s', (_, change, message) => {
    const path = withTensors(change)
    const text = failure(path)
    expect(text).toContain(`the weights do not fit the configuration: ${message}`)
    expect(text.startsWith(path), text).toBe(true)
  })

  it('a layer more than the configuration has', () => {
    const text = failure(withConfig({ num_hidden_layers: 2 }))
    expect(text).toContain("'model.layers.2.input_layernorm.weight' has no place in the model")
    expect(text).toMatch(/and 1 more$/)
  })

  it('a head of its own where it should be tied, which exports have, is ignored', () => {
    expect(load(withConfig({ tie_word_embeddings: true })).params.head).toBeUndefined()
  })

  it('a file that is cut off', () => {
    const path = copyOf('llama-tiny')
    const file = join(path, 'model.safetensors')
    truncateSync(file, 100_000)
    expect(failure(path).startsWith(file)).toBe(true)
  })

  it('no file', () => {
    const path = copyOf('llama-tiny')
    rmSync(join(path, 'model.safetensors'))
    expect(failure(path).startsWith(path)).toBe(true)
    expect(failure(join(folder, 'nowhere'))).toBe(
      `${join(folder, 'nowhere')}: there is no such file or folder`,
    )
  })
})

it('knows every token that ends a text', () => {
  const path = copyOf('llama-tiny')
  expect(load(path).ends).toEqual([2])
  writeFileSync(join(path, 'generation_config.json'), '{"eos_token_id": [7, 2, 9]}')
  expect(load(path).ends).toEqual([7, 2, 9])
})
