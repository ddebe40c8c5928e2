/** A Llama of two small blocks, for tests that train one within a second. */
import { llama } from '../src/model/families/llama.ts'

export const tinyLlamaWith = (vocabulary: number) =>
  llama.describe(
    {
      model_type: 'llama',
      vocab_size: vocabulary,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 12,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: true,
    },
    () => true,
  )

export const tinyLlama = tinyLlamaWith(11)
