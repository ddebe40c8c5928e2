#!/usr/bin/env node
// Writes a GGUF with random Q4_0 weights in the shape of a real model: what speed is measured on where no
// checkpoint can be fetched. Weights have mean 0 and variance 1 / inputs, so activations stay finite and greedy
// decoding wanders instead of sticking to one token. Needs no package.
//
//   node random-gguf.mjs --out model.gguf [--shape qwen2.5-0.5b] [--seed 1]

import fs from 'node:fs'
import { fail, flags, reply } from './protocol.mjs'

// The architecture written is always llama's (no biases); embedding and head are one tensor.
const SHAPES = {
  tiny: { layers: 2, width: 128, hidden: 256, heads: 4, kvHeads: 2, vocab: 512, base: 1e4, eps: 1e-6 },
  'smollm2-135m': {
    layers: 30,
    width: 576,
    hidden: 1536,
    heads: 9,
    kvHeads: 3,
    vocab: 49152,
    base: 1e5,
    eps: 1e-5,
  },
  'qwen2.5-0.5b': {
    layers: 24,
    width: 896,
    hidden: 4864,
    heads: 14,
    kvHeads: 2,
    vocab: 151936,
    base: 1e6,
    eps: 1e-6,
  },
}
const CONTEXT = 4096
const ALIGN = 32
const TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 }
const F32 = 0
const Q4_0 = 2
const BLOCK_VALUES = 32
const BLOCK_BYTES = 18 // a half-float scale, then 32 values of four bits
const POOL_BLOCKS = 1_000_003 // prime, so that no two rows of a tensor are equal

class Bytes {
  parts = []
  push(size, write) {
    const buffer = Buffer.alloc(size)
    write(buffer)
    this.parts.push(buffer)
  }
  u32(value) {
    this.push(4, (b) => b.writeUInt32LE(value))
  }
  u64(value) {
    this.push(8, (b) => b.writeBigUInt64LE(BigInt(value)))
  }
  f32(value) {
    this.push(4, (b) => b.writeFloatLE(value))
  }
  bool(value) {
    this.push(1, (b) => b.writeUInt8(value ? 1 : 0))
  }
  string(value) {
    this.u64(Buffer.byteLength(value))
    this.parts.push(Buffer.from(value))
  }
  array(type, values) {
    this.u32(TYPE[type])
    this.u64(values.length)
    if (type === 'string') for (const value of values) this.string(value)
    else this.parts.push(Buffer.from((type === 'f32' ? Float32Array : Int32Array).from(values).buffer))
  }
  entry(key, type, value, of) {
    this.string(key)
    this.u32(TYPE[type])
    if (type === 'array') this.array(of, value)
    else this[type](value)
  }
  pad() {
    const length = this.parts.reduce((sum, part) => sum + part.length, 0)
    this.parts.push(Buffer.alloc((ALIGN - (length % ALIGN)) % ALIGN))
  }
}

function tokenName(id) {
  if (id < 3) return ['<unk>', '<s>', '</s>'][id]
  return id < 259 ? `<0x${(id - 3).toString(16).toUpperCase().padStart(2, '0')}>` : `t${id}`
}

function tokenType(id) {
  if (id === 0) return 2 // unknown
  if (id < 3) return 3 // control
  return id < 259 ? 6 : 1 // byte, normal
}

function metadata(name, s) {
  const ids = Array.from({ length: s.vocab }, (_, id) => id)
  const number = (key, value) => [`llama.${key}`, 'u32', value]
  return [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', `random ${name}`],
    ['general.file_type', 'u32', 2],
    ['general.alignment', 'u32', ALIGN],
    number('block_count', s.layers),
    number('context_length', CONTEXT),
    number('embedding_length', s.width),
    number('feed_forward_length', s.hidden),
    number('attention.head_count', s.heads),
    number('attention.head_count_kv', s.kvHeads),
    number('rope.dimension_count', s.width / s.heads),
    number('vocab_size', s.vocab),
    ['llama.attention.layer_norm_rms_epsilon', 'f32', s.eps],
    ['llama.rope.freq_base', 'f32', s.base],
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.tokens', 'array', ids.map(tokenName), 'string'],
    ['tokenizer.ggml.scores', 'array', ids.map((id) => -id), 'f32'],
    ['tokenizer.ggml.token_type', 'array', ids.map(tokenType), 'i32'],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', false],
  ]
}

function tensors(s) {
  const headWidth = s.width / s.heads
  const list = []
  const matrix = (name, inputs, outputs) => {
    const bytes = ((inputs * outputs) / BLOCK_VALUES) * BLOCK_BYTES
    list.push({ name, dims: [inputs, outputs], type: Q4_0, inputs, bytes })
  }
  const norm = (name) => list.push({ name, dims: [s.width], type: F32, bytes: 4 * s.width })
  matrix('token_embd.weight', s.width, s.vocab)
  norm('output_norm.weight')
  for (let layer = 0; layer < s.layers; layer++) {
    const block = `blk.${layer}.`
    norm(`${block}attn_norm.weight`)
    matrix(`${block}attn_q.weight`, s.width, s.width)
    matrix(`${block}attn_k.weight`, s.width, s.kvHeads * headWidth)
    matrix(`${block}attn_v.weight`, s.width, s.kvHeads * headWidth)
    matrix(`${block}attn_output.weight`, s.width, s.width)
    norm(`${block}ffn_norm.weight`)
    matrix(`${block}ffn_gate.weight`, s.width, s.hidden)
    matrix(`${block}ffn_up.weight`, s.width, s.hidden)
    matrix(`${block}ffn_down.weight`, s.hidden, s.width)
  }
  return list
}

/** The bits of a positive normal number as a half float. */
function half(value) {
  const exponent = Math.floor(Math.log2(value))
  return ((exponent + 15) << 10) + Math.round((value / 2 ** exponent - 1) * 1024)
}

/** Random blocks without scales. A value of four bits stands for itself less 8; 0 becomes 8, so the mean is 0. */
function randomBlocks(seed) {
  const nibble = (n) => n || 8
  const table = Uint8Array.from({ length: 256 }, (_, byte) => (nibble(byte >> 4) << 4) | nibble(byte & 15))
  const pool = Buffer.alloc(POOL_BLOCKS * BLOCK_BYTES)
  let state = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < pool.length; i++) {
    if (i % 4 === 0) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
    }
    pool[i] = table[(state >>> (8 * (i % 4))) & 255]
  }
  return pool
}

function write(file, name, seed) {
  const shape = SHAPES[name]
  const entries = metadata(name, shape)
  const list = tensors(shape)
  const head = new Bytes()
  head.parts.push(Buffer.from('GGUF'))
  head.u32(3)
  head.u64(list.length)
  head.u64(entries.length)
  for (const entry of entries) head.entry(...entry)
  let offset = 0
  for (const tensor of list) {
    head.string(tensor.name)
    head.u32(tensor.dims.length)
    for (const dim of tensor.dims) head.u64(dim)
    head.u32(tensor.type)
    head.u64(offset)
    offset += Math.ceil(tensor.bytes / ALIGN) * ALIGN
  }
  head.pad()
  fs.writeFileSync(file, Buffer.concat(head.parts))

  const pool = randomBlocks(seed)
  const deviation = Math.sqrt(
    Array.from({ length: 16 }, (_, n) => ((n || 8) - 8) ** 2 / 16).reduce((a, b) => a + b),
  )
  let scaledFor = 0
  for (const [index, tensor] of list.entries()) {
    if (tensor.type === F32) {
      fs.writeFileSync(file, Buffer.from(new Float32Array(tensor.dims[0]).fill(1).buffer))
    } else {
      if (tensor.inputs !== scaledFor) {
        const scale = half(1 / (deviation * Math.sqrt(tensor.inputs)))
        for (let at = 0; at < pool.length; at += BLOCK_BYTES) pool.writeUInt16LE(scale, at)
        scaledFor = tensor.inputs
      }
      let from = ((index * 7919) % POOL_BLOCKS) * BLOCK_BYTES
      for (let left = tensor.bytes; left > 0; ) {
        const length = Math.min(left, pool.length - from)
        fs.writeFileSync(file, pool.subarray(from, from + length))
        left -= length
        from = 0
      }
    }
    fs.writeFileSync(file, Buffer.alloc((ALIGN - (tensor.bytes % ALIGN)) % ALIGN))
  }
}

const options = flags({ out: '', shape: 'qwen2.5-0.5b', seed: 1 })
if (!Object.hasOwn(SHAPES, options.shape)) {
  fail(`unknown --shape ${options.shape}; known: ${Object.keys(SHAPES).join(', ')}`, 2)
}
const partial = `${options.out}.${process.pid}.partial`
try {
  const file = fs.openSync(partial, 'wx')
  try {
    write(file, options.shape, options.seed)
  } finally {
    fs.closeSync(file)
  }
  fs.renameSync(partial, options.out)
} catch (error) {
  fs.rmSync(partial, { force: true })
  fail(error.message, 1)
}
reply({ file: options.out, shape: options.shape, bytes: fs.statSync(options.out).size })
