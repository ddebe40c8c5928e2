/** Between Hugging Face folders and GGUF files: the same tensors, the same logits, or an error that says why not. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { convertToGguf, convertToHuggingFace, load, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openCheckpoint, openGguf, readBytes, readFloats, writeSafetensors } from '../../src/store/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'
import { shared } from '../shared.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-convert-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

let made = 0
const fresh = (suffix = ''): string => join(folder, `${made++}${suffix}`)
const rows = [[3, 17, 42, 5, 96, 0, 61, 8]]
const logits = async (path: string): Promise<Float32Array> => {
  using model = Model.open(path, engine)
  return (await model.run(rows)).logits!.data as Float32Array
}

/** A copy of the Llama fixture with another configuration. */
function variant(change: object): string {
  const path = fresh()
  cpSync(fixture('llama-tiny'), path, { recursive: true })
  const file = join(path, 'config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }))
  return path
}

describe.each(['llama-tiny', 'llama-tiny-16'])('%s', (name) => {
  it('comes back from GGUF with the same tensors, settings and logits', async () => {
    const [file, back] = [fresh('.gguf'), fresh()]
    const { tensors } = convertToGguf(fixture(name), file, 'f32')
    convertToHuggingFace(file, back)
    const [before, after] = [openCheckpoint(fixture(name)), openCheckpoint(back)]
    expect(tensors).toBe(before.tensors.size)
    expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort())
    for (const [key, entry] of before.tensors) {
      expect(after.tensors.get(key)!.shape, key).toEqual(entry.shape)
      expect(readBytes(after.tensors.get(key)!), key).toEqual(readBytes(entry))
    }
    expect(load(back).spec).toEqual(load(fixture(name)).spec)
    const expected = await logits(fixture(name))
    expect(await logits(back)).toEqual(expected)
    // Rotary pairs are neighbours there: the same sums in another order.
    allClose(await logits(file), expected, tolerance.f32)
  })
})

it('puts the rows of queries and keys as llama.cpp does, and no others', () => {
  // 4 heads of 8 rows, pairs i and i + 4: row 1 of a head is its row 4, row 2 its row 1 (`LlamaModel.permute`).
  const file = fresh('.gguf')
  convertToGguf(fixture('llama-tiny'), file, 'f32')
  const [hf, gguf] = [openCheckpoint(fixture('llama-tiny')), openGguf(file)]
  const row = (tensor: Float32Array, i: number): Float32Array => tensor.slice(32 * i, 32 * i + 32)
  const own = (part: string) => readFloats(gguf.tensors.get(`blk.1.attn_${part}.weight`)!)
  const theirs = (part: string) => readFloats(hf.tensors.get(`model.layers.1.self_attn.${part}_proj.weight`)!)
  for (const part of ['q', 'k'])
    for (const [i, from] of [0, 4, 1, 5, 2, 6, 3, 7].entries())
      expect(row(own(part), 8 + i), `${part} ${i}`).toEqual(row(theirs(part), 8 + from))
  expect(own('v')).toEqual(theirs('v'))
})

it('rounds matrices, keeps vectors, and names what blocks do not divide', () => {
  const file = fresh('.gguf')
  const { kept } = convertToGguf(fixture('llama-tiny'), file, 'q8_0')
  expect(kept).toEqual([0, 1, 2].map((layer) => `blk.${layer}.ffn_down.weight in f16`))
  const { tensors, metadata } = openGguf(file)
  expect(tensors.get('blk.0.ffn_up.weight')!.type).toBe('q8_0')
  expect(tensors.get('blk.0.ffn_down.weight')!.type).toBe('f16')
  expect(tensors.get('blk.0.attn_norm.weight')!.type).toBe('f32')
  expect(metadata['general.file_type']).toBe(7)
})

it('keeps f16 as it is on the way back, and makes f32 of blocks, exactly', () => {
  for (const [type, dtype] of [
    ['f16', 'float16'],
    ['q4_0', 'float32'],
  ] as const) {
    const [file, back] = [fresh('.gguf'), fresh()]
    convertToGguf(fixture('llama-tiny-16'), file, type)
    convertToHuggingFace(file, back)
    expect(JSON.parse(readFileSync(join(back, 'config.json'), 'utf8')).torch_dtype).toBe(dtype)
    const up = openCheckpoint(back).tensors.get('model.layers.0.mlp.up_proj.weight')!
    expect(readFloats(up)).toEqual(readFloats(openGguf(file).tensors.get('blk.0.ffn_up.weight')!))
  }
})

it('takes the tokenizer along', () => {
  const starter = new URL('../../models/starter', import.meta.url).pathname
  const [file, back] = [fresh('.gguf'), fresh()]
  convertToGguf(starter, file, 'q4_0')
  convertToHuggingFace(file, back)
  const text = 'Once upon a time, 12 cats <|endoftext|> said "Hé!"\n\n'
  const expected = load(starter).tokenizer!.encode(text)
  for (const path of [file, back]) {
    const { tokenizer, spec } = load(path)
    expect(tokenizer!.encode(text)).toEqual(expected)
    expect([tokenizer!.bos, tokenizer!.eos, tokenizer!.addBos]).toEqual([0, 0, true])
    expect(spec.vocab).toBe(1024)
  }
  expect(openGguf(file).tensors.has('output.weight')).toBe(false) // tied
})

const stories = shared('assets/models/stories260K/stories260Ktok512.gguf')
it.skipIf(!stories)('a file of llama.cpp becomes a folder of the same logits and ids', async () => {
  const back = fresh()
  convertToHuggingFace(stories!, back)
  allClose(await logits(back), await logits(stories!), tolerance.f32)
  const text = 'Once upon a time,  there was\na café 🙂 </s> x'
  expect(load(back).tokenizer!.encode(text)).toEqual(load(stories!).tokenizer!.encode(text))
})

it('takes biases along, and turns those of queries and keys', async () => {
  const [path, file] = [variant({ attention_bias: true }), fresh('.gguf')]
  const { tensors } = openCheckpoint(fixture('llama-tiny'))
  const biases = [0, 1, 2].flatMap((layer) =>
    (['q', 'k', 'v', 'o'] as const).map((part) => {
      const size = part === 'q' || part === 'o' ? 32 : 16
      const name = `model.layers.${layer}.self_attn.${part}_proj.bias`
      const data = Float32Array.from({ length: size }, (_, i) => Math.sin(7 * i + layer))
      return { name, dtype: 'f32' as const, shape: [size], data }
    }),
  )
  const rest = [...tensors.values()].map((entry) => ({
    ...entry,
    dtype: 'f32' as const,
    data: readBytes(entry),
  }))
  writeSafetensors(join(path, 'model.safetensors'), [...rest, ...biases])
  convertToGguf(path, file, 'f32')
  allClose(await logits(file), await logits(path), tolerance.f32)
})

describe('refuses', () => {
  const toGguf = (path: string, type: 'f32' | 'f16' = 'f32') => {
    const output = fresh('.gguf')
    expect(() => convertToGguf(path, output, type)).toThrow(expect.anything())
    expect(existsSync(output)).toBe(false)
    return expect(() => convertToGguf(path, output, type))
  }

  it('another family', () => {
    toGguf(fixture('families/opt')).toThrow('opt in safetensors cannot become GGUF; in Hugging Face layout')
  })

  it('another activation', () => {
    toGguf(variant({ hidden_act: 'gelu' })).toThrow(
      "GGUF's llama cannot say of this model: ffn.activation is gelu",
    )
  })

  it('weights that f16 cannot hold', () => {
    const path = variant({})
    const tensors = [...openCheckpoint(path).tensors.values()].map((entry) => {
      const data = readFloats(entry)
      if (entry.name === 'lm_head.weight') data[7] = -70000
      return { name: entry.name, dtype: 'f32' as const, shape: entry.shape, data }
    })
    writeSafetensors(join(path, 'model.safetensors'), tensors)
    toGguf(path, 'f16').toThrow("'lm_head.weight' holds -70000, too large for f16: convert to f32")
  })

  it('a folder as the source of a folder, and one that is in use', () => {
    expect(() => convertToHuggingFace(fixture('llama-tiny'), fresh())).toThrow('only Llama models in GGUF')
    const file = fresh('.gguf')
    convertToGguf(fixture('llama-tiny'), file, 'f32')
    expect(() => convertToHuggingFace(file, folder)).toThrow('is there already; choose a new folder')
    expect(readdirSync(folder).filter((entry) => entry.endsWith('.tmp'))).toEqual([])
  })
})
