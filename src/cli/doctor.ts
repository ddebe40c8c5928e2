/** `glossa doctor`: what runs here, and whether a model computes what it should. */
import { availableParallelism, totalmem } from 'node:os'
import * as z from 'zod'
import { type Tensor, tensor } from '../array/index.ts'
import { type Activations, type Comparison, compareActivations, suspect } from '../model/compare.ts'
import { load, Model, seal, sites, type WeightFormat } from '../model/index.ts'
import { availableProviders, Engine, nodeRuntime } from '../onnx/index.ts'
import { openSafetensors, readBytes, readFloats, type TensorEntry } from '../store/index.ts'
import { encode, jsonOption, modelFlags, modelOptions, tokensOption } from './common.ts'
import { locateModel } from './hub.ts'
import { bytes, print, printJson, short, status, table } from './terminal.ts'
import { verb } from './verb.ts'

/** Beyond rounding: sums of f32 in another order stay a hundred times below. */
const tolerance = 1e-3
const sample = 'Once upon a time there was a small house at the edge of the wood. In the house lived'

interface Check {
  readonly name: string
  readonly result?: Comparison
  /** Why it could not be run. */
  readonly missing?: string
  /** Whether it must agree within the tolerance; rounded weights are only reported. */
  readonly exact: boolean
}

export default verb({
  name: 'doctor',
  summary: 'What runs here; with -m, whether a model computes what it should',
  options: z.strictObject({
    model: modelOptions.shape.model.optional(),
    reference: z
      .string()
      .min(1)
      .optional()
      .describe(
        'A model that is known to be right, or a .safetensors file of its activations by site, and tokens',
      ),
    prompt: z.string().optional().describe('The text that is computed'),
    tokens: tokensOption,
    json: jsonOption,
  }),
  flags: { ...modelFlags, prompt: { short: 'p' } },
  notes: `The certificate holds the model, as it is opened, against itself sealed, rounded, token by token and on other
providers. Exit code 1: something that must agree does not. A reference file has the tensor 'tokens' and
activations under the names that glossa inspect lists.`,
  async run({ model: name, reference, prompt, tokens, json }) {
    const here = describeMachine()
    if (!name) {
      if (reference) throw new Error('--reference needs a model to hold against it: -m MODEL')
      if (json) printJson(here)
      else print(table(Object.entries(here).map(([key, value]) => [key, `${value}`])))
      return 0
    }
    await using engine = new Engine(nodeRuntime())
    const model = new Model({ engine, ...load(await locateModel(name)) })
    const recorded = reference?.endsWith('.safetensors') ? readRecorded(reference) : undefined
    const ids = recorded?.tokens ?? [tokens ?? exampleTokens(model, prompt)]
    const checks = await certify(model, ids)
    if (reference) {
      const right =
        recorded?.activations ??
        (await activations(new Model({ engine, ...load(await locateModel(reference)) }), ids))
      const own = await activations(model, ids, [...right.keys()])
      checks.unshift({ name: 'reference', exact: true, result: compareActivations(right, own, tolerance) })
    }
    const healthy = checks.every(({ exact, result }) => !exact || !result?.first)
    if (json) printJson({ ...here, model: name, tokens: ids, healthy, checks })
    else {
      print(report(checks))
      const first = checks[0]?.name === 'reference' ? checks[0].result?.first : undefined
      if (first)
        print(
          `\n${name} parts from the reference at ${first.site} [${first.at.join(', ')}]: ${suspect(first.site)}.\n`,
        )
      print(healthy ? '\nhealthy\n' : '\nnot healthy: see the lines marked with !\n')
    }
    return healthy ? 0 : 1
  },
})

function describeMachine(): Record<string, string | number> {
  return {
    node: process.versions.node,
    system: `${process.platform} ${process.arch}`,
    cores: availableParallelism(),
    memory: bytes(totalmem()),
    providers: availableProviders().join(', '),
  }
}

/** The text's tokens; ids spread over the vocabulary where there is no tokenizer. */
function exampleTokens(model: Model, prompt: string | undefined): number[] {
  if (prompt !== undefined || model.tokenizer) return encode(model, prompt ?? sample).slice(0, model.context)
  const { vocab } = model.spec
  return Array.from({ length: Math.min(24, model.context) }, (_, i) => (i * 7919 + 13) % vocab)
}

async function activations(
  model: Model,
  tokens: readonly (readonly number[])[],
  wanted: readonly string[] = [...sites(model.spec).keys()],
): Promise<Activations> {
  const known = sites(model.spec)
  const order = [...known.keys()].filter((site) => wanted.includes(site))
  const values = await model.run(tokens, { read: order })
  return new Map(order.map((site) => [site, values[site]!]))
}

/** The model as it is opened against every other way to run it. */
async function certify(model: Model, tokens: readonly (readonly number[])[]): Promise<Check[]> {
  const all = [...sites(model.spec).keys()]
  status('computing every site ...')
  const open = await activations(model, tokens)
  const checks: Check[] = []
  const check = async (name: string, exact: boolean, run: () => Promise<Activations>): Promise<void> => {
    status(`${name} ...`)
    try {
      checks.push({ name, exact, result: compareActivations(open, await run(), tolerance) })
    } catch (error) {
      checks.push({ name, exact, missing: reasonOf(error) })
    }
  }
  for (const weights of ['f32', 'int8', 'int4'] as const satisfies readonly WeightFormat[])
    await check(`sealed ${weights}`, weights === 'f32', async () => {
      using sealed = seal(model, { weights, read: all })
      return activations(sealed, tokens)
    })
  await check('token by token', true, async () => new Map([['logits', await stepwise(model, tokens)]]))
  for (const provider of availableProviders().filter((name) => name !== 'cpu'))
    await check(provider, true, async () => {
      await using engine = new Engine(nodeRuntime({ provider }))
      return activations(new Model({ engine, spec: model.spec, params: model.params }), tokens)
    })
  return checks
}

/** ONNX Runtime's messages begin with where in its sources they come from. */
const reasonOf = (error: unknown): string => (error as Error).message.replace(/^.* was false\. /s, '')

/** Logits [batch, T, vocab] through the cache, a token at a time. */
async function stepwise(model: Model, tokens: readonly (readonly number[])[]): Promise<Tensor> {
  const [batch, time, { vocab }] = [tokens.length, tokens[0]!.length, model.spec]
  const logits = new Float32Array(batch * time * vocab)
  let cache = model.newCache(batch, time)
  const same = (value: number): Tensor => tensor(new Int32Array(batch).fill(value))
  for (let t = 0; t < time; t++) {
    const ids = model.rows(tokens.map((row) => [row[t]!]))
    const step = await model.step({ tokens: ids, cache, lengths: same(t), at: same(0) })
    cache = step.cache
    const data = step.logits.data as Float32Array
    for (let b = 0; b < batch; b++)
      logits.set(data.subarray(b * vocab, (b + 1) * vocab), (b * time + t) * vocab)
  }
  return tensor(logits, [batch, time, vocab])
}

/** Activations that another program has recorded, in the order of the file. */
function readRecorded(path: string): { tokens: number[][]; activations: Activations } {
  const { tensors } = openSafetensors(path)
  const tokens = tensors.get('tokens')
  if (tokens?.shape.length !== 2) throw new Error(`${path}: there is no tensor 'tokens' [batch, T]`)
  const ids = integers(path, tokens)
  const [batch, time] = tokens.shape as [number, number]
  const named = [...tensors].filter(([name]) => /hook_|^logits$/.test(name) && !name.startsWith('grad.'))
  return {
    tokens: Array.from({ length: batch }, (_, b) => ids.slice(b * time, (b + 1) * time)),
    activations: new Map(
      named.map(([name, entry]) => [name, { sizes: entry.shape, data: readFloats(entry) }]),
    ),
  }
}

function integers(path: string, entry: TensorEntry): number[] {
  if (entry.type !== 'i32') throw new Error(`${path}: 'tokens' is ${entry.type}, not i32`)
  return Array.from(new Int32Array(readBytes(entry).buffer))
}

function report(checks: readonly Check[]): string {
  const rows = checks.map(({ name, result, missing, exact }) => {
    if (!result) return [name, '', '', '', '', missing ?? '']
    const mark = exact && result.first ? '!' : ''
    return [
      `${mark}${name}`,
      `${result.worst.site} ${short(result.worst.relative)}`,
      short(result.logit),
      short(result.divergence),
      `${result.flips} of ${result.positions}`,
      mark ? `first at ${result.first!.site}` : '',
    ]
  })
  return table([['check', 'worst site', 'worst logit', 'KL (nats)', 'tokens that flip', ''], ...rows])
}
