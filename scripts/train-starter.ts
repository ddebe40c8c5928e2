/**
 * Trains `models/starter`, the model that `npm start` runs: a Llama of 1M parameters on TinyStories, in a few
 * minutes on two cores. Needs the stories in ../shared; the result needs nothing.
 *
 *   npx tsx scripts/train-starter.ts [--steps 1500]
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { random, tensor } from '../src/array/index.ts'
import { complete } from '../src/decode/index.ts'
import { llama } from '../src/model/families/llama.ts'
import { type DecoderParams, Model } from '../src/model/index.ts'
import { replaceNames } from '../src/model/load.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'
import { f32ToF16, writeSafetensors } from '../src/store/index.ts'
import { loadTokenizer } from '../src/text/index.ts'
import { adamw, initialize, trainingStep } from '../src/train/index.ts'
import { tokenizerJson, trainBpe } from './starter/bpe.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const data = join(root, '../shared/assets')
const sources = [
  'data/tinystories-val-part/tinystories_dedup.txt.gz',
  'text/tinystories_new/tinystories_mines.txt.gz',
  'text/tinystories_new/tinystories_crib.txt',
]
const begin = '<|endoftext|>'
const batch = 16
const length = 256
const peakRate = 4e-3

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 1024,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
} as const

const { values } = parseArgs({ options: { steps: { type: 'string', default: '1500' } } })
const steps = Number(values.steps)

// Stories: the last 2 % are held out.
const stories = sources.flatMap((name) => {
  const bytes = readFileSync(join(data, name))
  const text = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
  return text
    .split(begin)
    .map((story) => story.trim())
    .filter((story) => story.length > 0)
})
const order = stories.map((_, i) => i)
const shuffle = random.generator(11)
for (let i = order.length - 1; i > 0; i--) {
  const j = Math.floor(shuffle() * (i + 1))
  ;[order[i], order[j]] = [order[j]!, order[i]!]
}
const border = Math.floor(order.length * 0.98)
const training = order.slice(0, border).map((i) => stories[i]!)
const heldOut = order.slice(border).map((i) => stories[i]!)

// The folder is made beside the final one and moved at the end.
const target = join(root, 'models/starter')
const folder = `${target}.${process.pid}`
mkdirSync(folder, { recursive: true })
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const write = (name: string, value: object): void =>
  writeFileSync(join(folder, name), `${JSON.stringify(value, null, 1)}\n`)
write('config.json', config)
write('tokenizer.json', tokenizerJson(trainBpe(training.join('\n'), config.vocab_size, [begin]), begin))
write('tokenizer_config.json', {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: begin,
  eos_token: begin,
  model_max_length: config.max_position_embeddings,
})
const tokenizer = loadTokenizer(folder)

const encodeAll = (list: readonly string[]): Int32Array =>
  Int32Array.from(list.flatMap((story) => tokenizer.encode(story).ids))
const tokens = encodeAll(training)
console.log(
  `${training.length} stories, ${(tokens.length / 1e6).toFixed(2)}M tokens; ${heldOut.length} held out`,
)

const engine = new Engine(nodeRuntime())
const { spec, names } = llama.describe(config, () => true)
const optimizer = adamw({ beta2: 0.99, weightDecay: 0.1 })
const step = trainingStep(engine, spec, optimizer)
let params: DecoderParams = initialize(spec, { seed: 1, deviation: 0.04 })
let state = optimizer.init(params)

/** Bits per byte over whole held-out stories, cut to the context. */
async function evaluate(current: DecoderParams): Promise<number> {
  using model = new Model({ engine, spec, params: current, tokenizer })
  let nats = 0
  let bytes = 0
  for (const story of heldOut) {
    const ids = tokenizer.encode(story).ids.slice(0, spec.context)
    nats -= (await model.score([ids])).data.reduce((sum: number, x) => sum + Number(x), 0)
    bytes += ids.slice(1).reduce((sum, id) => sum + tokenizer.bytes(id).length, 0)
  }
  return nats / Math.LN2 / bytes
}

const draw = random.generator(5)
const rateAt = (i: number): number => {
  const warm = Math.min(1, (i + 1) / 100)
  return peakRate * warm * (0.05 + 0.95 * 0.5 * (1 + Math.cos((Math.PI * i) / steps)))
}
const started = performance.now()
const curve: [step: number, loss: number][] = []
let window: number[] = []
for (let i = 0; i < steps; i++) {
  const rows = new Int32Array(batch * length)
  for (let row = 0; row < batch; row++) {
    const at = Math.floor(draw() * (tokens.length - length))
    rows.set(tokens.subarray(at, at + length), row * length)
  }
  const result = await step(params, state, tensor(rows, [batch, length]), tensor([rateAt(i)], []))
  ;({ params, state } = result)
  window.push(result.loss.item())
  if ((i + 1) % 50 === 0 || i + 1 === steps) {
    const loss = window.reduce((a, b) => a + b) / window.length
    window = []
    curve.push([i + 1, loss])
    const seconds = (performance.now() - started) / 1000
    const rate = ((i + 1) * batch * length) / seconds
    const left = (seconds / (i + 1)) * (steps - i - 1)
    console.log(
      `step ${i + 1}/${steps}  loss ${loss.toFixed(3)}  ${rate.toFixed(0)} tokens/s  ${left.toFixed(0)} s left`,
    )
  }
}
const seconds = (performance.now() - started) / 1000

// f16 on disk; what is reported is measured on the file's weights.
const shapes = new Map<string, { shape: readonly number[]; data: Float32Array }>()
const visit = (node: unknown, leaf: unknown): unknown => {
  if (typeof node === 'string') {
    const { sizes, data } = leaf as { sizes: readonly number[]; data: Float32Array }
    shapes.set(node, { shape: sizes, data })
  } else if (typeof node === 'object' && node !== null)
    for (const [key, child] of Object.entries(node)) visit(child, (leaf as Record<string, unknown>)[key])
  return node
}
visit(
  replaceNames(names, (name) => name),
  params,
)
writeSafetensors(
  join(folder, 'model.safetensors'),
  [...shapes].map(([name, { shape, data }]) => ({
    name,
    dtype: 'f16' as const,
    shape,
    data: f32ToF16(data),
  })),
)
const model = Model.open(folder, engine)
const bitsPerByte = await evaluate(model.params)
const samples: string[] = []
for (let seed = 1; seed <= 5; seed++) {
  const [story] = await complete(model, ['Once upon a time'], { seed, temperature: 0.8, maxTokens: 150 })
  samples.push(`**Seed ${seed}.** Once upon a time${story!.text.replaceAll('\n', ' ')}`)
}

const millions = (count: number): string => `${(count / 1e6).toFixed(2)}M`
const parameters = [...shapes.values()].reduce((sum, { data }) => sum + data.length, 0)
writeFileSync(
  join(folder, 'MODEL_CARD.md'),
  `# starter

A Llama of ${millions(parameters)} parameters that writes very simple English stories: the best small model that this
repository's own training makes in a few minutes. It stands in until the default models exist.

| | |
| --- | --- |
| command | \`npx tsx scripts/train-starter.ts --steps ${steps}\` |
| data | TinyStories (Eldan and Li 2023, CDLA-Sharing-1.0): ${training.length} stories, ${millions(tokens.length)} tokens, ${heldOut.length} more held out |
| tokenizer | byte-level BPE of ${config.vocab_size} tokens, trained on the same stories |
| training | ${steps} steps of ${batch} x ${length} tokens (${millions(steps * batch * length)}), AdamW, peak rate ${peakRate}, ${(seconds / 60).toFixed(1)} minutes on two cores |
| held-out stories | **${bitsPerByte.toFixed(3)} bits per byte**, f16 weights |

Loss in nats per token, means of 50 steps:

| step | loss |
| ---: | ---: |
${curve
  .filter((_, i) => i % 3 === 2 || i === curve.length - 1)
  .map(([i, loss]) => `| ${i} | ${loss.toFixed(3)} |`)
  .join('\n')}

Samples at temperature 0.8, the first five seeds:

${samples.join('\n\n')}
`,
)
rmSync(target, { recursive: true, force: true })
renameSync(folder, target)
console.log(`${bitsPerByte.toFixed(3)} bits per byte on held-out stories`)
await engine.dispose()
