/**
 * Trains `models/starter`, the model that `npm start` runs: a Llama of 1M parameters on TinyStories, in about ten
 * minutes on two cores. Needs the stories in ../shared; the result needs nothing.
 *
 *   npx tsx scripts/train-starter.ts [--steps 2500] [--batch 8] [--rate 0.004] [--out models/starter]
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { leaves, tensor } from '../src/array/index.ts'
import { complete } from '../src/decode/index.ts'
import { llama } from '../src/model/families/llama.ts'
import { type DecoderParams, Model } from '../src/model/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'
import { f32ToF16, writeSafetensors } from '../src/store/index.ts'
import { loadTokenizer, tokenizerConfig, trainBpe } from '../src/text/index.ts'
import { adamw, initialize, trainingStep } from '../src/train/index.ts'
import { batches } from './starter/batches.ts'
import { bitsPerByte } from './starter/bitsPerByte.ts'
import { type CurvePoint, modelCard } from './starter/card.ts'
import { endOfText, readStories } from './starter/stories.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const context = 256
const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 1024,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: context,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
} as const

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '2500' },
    batch: { type: 'string', default: '8' },
    rate: { type: 'string', default: '0.004' },
    out: { type: 'string', default: 'models/starter' },
  },
})
const [steps, batch, peakRate] = [values.steps, values.batch, values.rate].map((text) => {
  const number = Number(text)
  if (!(number > 0)) throw new RangeError(`'${text}' is not a positive number`)
  return number
}) as [number, number, number]
const target = resolve(root, values.out)

// Everything is made in a folder that git ignores, and moved to its place at the end.
const folder = join(root, 'runs', `${basename(target)}.${process.pid}`)
mkdirSync(folder, { recursive: true })
const write = (name: string, value: object): void =>
  writeFileSync(join(folder, name), `${JSON.stringify(value, null, 1)}\n`)

const { training, heldOut } = readStories(join(root, '../shared/assets'))
write('config.json', config)
const trained = trainBpe(training, {
  vocabSize: config.vocab_size,
  specialTokens: [endOfText],
  begin: endOfText,
})
write('tokenizer.json', trained)
write('tokenizer_config.json', tokenizerConfig(trained, { modelMaxLength: context }))
const tokenizer = loadTokenizer(folder)
const tokens = Int32Array.from(training.flatMap((story) => tokenizer.encode(story).ids))
console.log(`${training.length} stories, ${tokens.length} tokens; ${heldOut.length} stories held out`)

const engine = new Engine(nodeRuntime())
const { spec, names } = llama.describe(config, () => true)
const optimizer = adamw({ beta2: 0.99, weightDecay: 0.1, decays: 'all' })
const step = trainingStep(engine, spec, optimizer)
let params: DecoderParams = initialize(spec, { seed: 1, deviation: 0.04 })
let state = optimizer.init(params)
const parameters = leaves(params).reduce((sum, [, leaf]) => sum + leaf.data.length, 0)

/** The learning rate: a linear warm-up of 100 steps, then half a cosine down to zero. */
const rateAt = (i: number): number =>
  peakRate * Math.min(1, (i + 1) / 100) * 0.5 * (1 + Math.cos((Math.PI * i) / steps))

/** Writes the weights in f16. */
function save(current: DecoderParams): void {
  const paths = new Map(leaves(current))
  const tensors = namesOf(names).map(([path, name]) => {
    const { sizes, data } = paths.get(path)!
    return { name, dtype: 'f16' as const, shape: sizes, data: f32ToF16(data as Float32Array) }
  })
  if (tensors.length !== paths.size) throw new Error(`${paths.size} parameters, but ${tensors.length} names`)
  writeSafetensors(join(folder, 'model.safetensors'), tensors)
}

/** Parameter paths with their names in the file. */
function namesOf(tree: object): [path: string, name: string][] {
  const found: [string, string][] = []
  const visit = (node: unknown, path: string): void => {
    if (typeof node === 'string') found.push([path, node])
    else if (typeof node === 'object' && node !== null)
      for (const [key, child] of Object.entries(node)) visit(child, path ? `${path}.${key}` : key)
  }
  visit(tree, '')
  return found
}

const source = batches(tokens, batch, context, 5)
const started = performance.now()
const report = Math.ceil(steps / 20)
const curve: CurvePoint[] = []
let best = { step: 0, bits: Number.POSITIVE_INFINITY }
let losses: number[] = []
for (let i = 1; i <= steps; i++) {
  const rows = tensor(source.next().value as Int32Array, [batch, context + 1])
  const result = await step(params, state, rows, tensor([rateAt(i - 1)], []))
  ;({ params, state } = result)
  losses.push(result.loss.item())
  if (i % report > 0 && i < steps) continue
  const loss = losses.reduce((a, b) => a + b) / losses.length
  if (!Number.isFinite(loss)) throw new Error(`the loss is ${loss} at step ${i}`)
  losses = []
  // The first half of a cosine schedule is never the best.
  let bits: number | undefined
  if (i >= steps / 2) {
    using model = new Model({ engine, spec, params, tokenizer })
    bits = await bitsPerByte(model, heldOut)
    if (bits < best.bits) {
      best = { step: i, bits }
      save(params)
    }
  }
  curve.push({ step: i, loss, ...(bits !== undefined && { bitsPerByte: bits }) })
  const seconds = (performance.now() - started) / 1000
  console.log(
    `step ${i}/${steps}  loss ${loss.toFixed(3)}  ${bits === undefined ? '' : `held out ${bits.toFixed(4)} bits per byte  `}` +
      `${((i * batch * context) / seconds).toFixed(0)} tokens/s  ${((seconds / i) * (steps - i)).toFixed(0)} s left`,
  )
}
const minutes = (performance.now() - started) / 60_000
const { user, system } = process.cpuUsage()

// What is reported is measured on the file.
const model = Model.open(folder, engine)
const samples: string[] = []
for (let seed = 1; seed <= 5; seed++) {
  const [story] = await complete(model, ['Once upon a time'], { seed, temperature: 0.8, maxTokens: 200 })
  samples.push(`Once upon a time${story!.text.replaceAll(/\s*\n\s*/g, ' ')}`)
}
const bits = await bitsPerByte(model, heldOut)
const flags = ['steps', 'batch', 'rate'] as const
writeFileSync(
  join(folder, 'MODEL_CARD.md'),
  modelCard({
    command: ['npx tsx scripts/train-starter.ts', ...flags.map((flag) => `--${flag} ${values[flag]}`)].join(
      ' ',
    ),
    parameters,
    vocabulary: config.vocab_size,
    context,
    stories: training.length,
    storyTokens: tokens.length,
    steps,
    batch,
    rate: peakRate,
    minutes,
    cpuMinutes: (user + system) / 60e6,
    cores: cpus().length,
    heldOut: heldOut.length,
    bitsPerByte: bits,
    best: best.step,
    curve,
    samples,
  }),
)
await engine.dispose()

// Two renames: at no time is there a folder that is half of each.
const old = `${folder}.old`
if (existsSync(target)) renameSync(target, old)
renameSync(folder, target)
rmSync(old, { recursive: true, force: true })
console.log(`${bits.toFixed(4)} bits per byte on held-out stories, ${target}`)
