/** A tiny model and a corpus for it, made anew: no file is needed. */
import { describeConfig, smallConfig } from '../../src/experiments/small.ts'
import { Model } from '../../src/model/index.ts'
import type { Engine } from '../../src/onnx/index.ts'
import { initialize } from '../../src/train/index.ts'

export function tinyModel(engine: Engine, changes: Readonly<Record<string, unknown>> = {}): Model {
  const config = smallConfig(50, {
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    max_position_embeddings: 32,
    ...changes,
  })
  const { spec, names } = describeConfig(config)
  return new Model({ engine, spec, params: initialize(spec, { seed: 1, deviation: 0.3, names }) })
}

/** Token ids that follow one another by a rule with exceptions, in documents of uneven length that 0 ends. */
export function tinyCorpus(length: number): Uint16Array {
  const tokens = new Uint16Array(length)
  let state = 7
  for (let i = 0; i < length; i++) {
    state = (state * 1103515245 + 12345) % 2147483648
    tokens[i] = i % 37 === 36 ? 0 : 1 + (Math.floor(state / 65536) % 49)
  }
  return tokens
}
