/** A cloned model computes what the narrow one computes, whatever makes its copies differ. */
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor } from '../../src/array/index.ts'
import { parseConfig } from '../../src/model/bind.ts'
import { familyOf } from '../../src/model/families/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { initialize } from '../../src/train/index.ts'
import { widen } from '../../src/train/widen.ts'
import { allClose, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

function describeConfig(config: Record<string, unknown>) {
  const { id } = parseConfig(JSON.stringify(config), 'config')
  return familyOf('safetensors', id).describe(config, () => true)
}

const llama = (times: number, keys: number, more: Record<string, unknown> = {}) => ({
  model_type: 'llama',
  vocab_size: 61,
  hidden_size: 24 * times,
  intermediate_size: 40 * times,
  num_hidden_layers: 3,
  num_attention_heads: 4 * times,
  num_key_value_heads: keys,
  head_dim: 6,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  ...more,
})
const gpt2 = (times: number) => ({
  model_type: 'gpt2',
  vocab_size: 61,
  n_embd: 24 * times,
  n_layer: 2,
  n_head: 4 * times,
  n_positions: 32,
  n_inner: 40 * times,
  activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5,
})

const uniform = random.generator(3)
const tokens = [Array.from({ length: 20 }, () => Math.floor(61 * uniform()))]

/** The first matrix up, [hidden, width]. */
function upOf(params: ReturnType<typeof initialize>): Float32Array {
  const mlp = params.blocks[0]!.mlp as { readonly up: { readonly weight: Tensor } }
  return mlp.up.weight.data as Float32Array
}

async function logits(config: Record<string, unknown>, params: ReturnType<typeof initialize>) {
  const { spec } = describeConfig(config)
  const model = new Model({ engine, spec, params })
  const { logits: found } = await model.run(tokens)
  return (await found!.load()) as Float32Array
}

describe.each([
  ['twice as wide', llama(1, 4), llama(2, 8)],
  ['with as many keys as before', llama(1, 4), llama(2, 4)],
  ['with grouped queries', llama(1, 2), llama(2, 4)],
  ['three times', llama(1, 2), llama(3, 6)],
  [
    'with a head of its own',
    llama(1, 4, { tie_word_embeddings: false }),
    llama(2, 8, { tie_word_embeddings: false }),
  ],
])('%s', (_, narrow, wide) => {
  it('gives the same logits, and copies that differ', async () => {
    const small = describeConfig(narrow)
    const large = describeConfig(wide)
    const params = initialize(small.spec, { seed: 5, deviation: 0.3, names: small.names })
    const cloned = widen(params, small.spec, large.spec, { seed: 7, noise: 0.5 })
    allClose(await logits(wide, cloned), await logits(narrow, params), tolerance.f32)
    const [columns, own] = [large.spec.width, upOf(cloned)]
    const row = (i: number): Float32Array => own.slice(i * columns, (i + 1) * columns)
    // Unit 0 and its copy.
    expect(row(0)).not.toEqual(row(40))
    // Without noise they are the same.
    const plain = upOf(widen(params, small.spec, large.spec, { noise: 0 }))
    expect(plain.slice(0, columns)).toEqual(plain.slice(40 * columns, 41 * columns))
  })
})

it('names what does not fit', () => {
  const small = describeConfig(llama(1, 4))
  const params = initialize(small.spec, { names: small.names })
  const against = (config: Record<string, unknown>) => () =>
    widen(params, small.spec, describeConfig(config).spec)
  expect(against(llama(1, 4))).toThrow('width of 24 is no multiple of 24')
  expect(against(llama(2, 8, { num_hidden_layers: 6 }))).toThrow('6 layers, and there are 3')
  expect(against(llama(2, 8, { vocab_size: 62 }))).toThrow('vocabulary of 62')
  expect(against(llama(2, 8, { intermediate_size: 90 }))).toThrow('90 hidden units')
  expect(against(llama(2, 8, { head_dim: 12, num_attention_heads: 4, num_key_value_heads: 4 }))).toThrow(
    'heads of 12',
  )
  const joined = describeConfig(gpt2(1))
  const gpt = initialize(joined.spec, { names: joined.names })
  expect(() => widen(gpt, joined.spec, describeConfig(gpt2(2)).spec)).toThrow('separate queries')
})
