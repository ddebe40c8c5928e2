/** Random models of published shapes: speed does not depend on what the weights say. */
import { random, type Tensor, tensor } from '../../array/index.ts'
import type { DecoderParams, DecoderSpec } from '../../model/index.ts'
import { type Linear, partOf, type QuantizedMatrix } from '../../model/spec.ts'

export const shapes = {
  /** Qwen2.5-0.5B (2024), without its biases: 24 layers, 494M parameters. */
  'qwen2.5-0.5b': {
    vocab: 151936,
    width: 896,
    layers: 24,
    context: 4096,
    norm: { kind: 'rms', epsilon: 1e-6 },
    position: { kind: 'rotary', base: 1e6, interleaved: false },
    attention: { heads: 14, keyValueHeads: 2, headSize: 64 },
    ffn: { kind: 'gated', hidden: 4864, activation: 'silu' },
    layout: 'out-in',
  },
  tiny: {
    vocab: 512,
    width: 64,
    layers: 2,
    context: 512,
    norm: { kind: 'rms', epsilon: 1e-6 },
    position: { kind: 'rotary', base: 1e4, interleaved: false },
    attention: { heads: 4, keyValueHeads: 2, headSize: 16 },
    ffn: { kind: 'gated', hidden: 128, activation: 'silu' },
    layout: 'out-in',
  },
} as const satisfies Record<string, DecoderSpec>

export type ShapeName = keyof typeof shapes

/** Parameters of a gated decoder with a tied, quantised head; every matrix is random 4-bit blocks. */
export function randomQuantized(spec: DecoderSpec, block: number, seed = 1): DecoderParams {
  // One pool of random bytes, read from another place for every matrix: ONNX Runtime keeps equal weights once,
  // and a model that fits into the cache would look faster than it is.
  const pool = new Uint8Array(1 << 24)
  const uniform = random.generator(seed)
  for (let i = 0; i < pool.length; i++) pool[i] = Math.floor(uniform() * 256)
  const matrix = (out: number, inner: number): QuantizedMatrix => {
    const bytes = new Uint8Array((out * inner) / 2)
    const offset = Math.floor(uniform() * pool.length)
    for (let at = 0; at < bytes.length; ) {
      const part = pool.subarray((at + offset) % pool.length).subarray(0, bytes.length - at)
      bytes.set(part, at)
      at += part.length
    }
    const scales = new Float32Array((out * inner) / block).fill(0.3 / Math.sqrt(inner))
    return {
      packed: tensor(bytes, [out, inner / block, block / 2]),
      scales: tensor(scales, [out, inner / block]),
    }
  }
  const linear = (inner: number, out: number): Linear => ({ weight: matrix(out, inner) })
  const ones = (): Tensor => tensor(new Float32Array(spec.width).fill(1))
  const { heads, keyValueHeads, headSize } = partOf(spec, 'attention')
  const { hidden } = partOf(spec, 'ffn')
  return {
    embed: matrix(spec.vocab, spec.width),
    blocks: Array.from({ length: spec.layers }, () => ({
      ln1: { weight: ones() },
      attn: {
        qkv: linear(spec.width, (heads + 2 * keyValueHeads) * headSize),
        o: linear(heads * headSize, spec.width),
      },
      ln2: { weight: ones() },
      mlp: { gateUp: linear(spec.width, 2 * hidden), down: linear(hidden, spec.width) },
    })),
    lnFinal: { weight: ones() },
  }
}
