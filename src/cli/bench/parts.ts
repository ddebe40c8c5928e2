/** The parts of the benchmark. Each gives rows with our figure, the machine's limit and the peers. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Model, weightBill } from '../../model/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { randomCheckpoint } from './checkpoints.ts'
import { Stepper } from './decode.ts'
import type { Machine } from './machine.ts'
import { median, type Ratio, race } from './measure.ts'
import type { OpenCost } from './openChild.ts'
import { Peer, PeerError } from './peers.ts'
import { saeRun, saeShape, tinySaeShape } from './sae.ts'
import { percentile, serving } from './serving.ts'
import { randomQuantized, shapes } from './shapes.ts'
import { torchOnCuda, torchSaeStep, torchStep } from './torch.ts'
import { compileTraining, tinyShape, trainingRun, trainingShapes } from './training.ts'

export interface Row {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** Share of a limit of the machine, 0 to 1. */
  readonly share?: { readonly of: number; readonly what: string }
  readonly peers: readonly (
    | ({ readonly name: string; readonly value: number } & Pick<Ratio, 'ratio' | 'low' | 'high'>)
    | { readonly name: string; readonly missing: string }
  )[]
}

export interface Bench {
  readonly engine: Engine
  readonly machine: Machine
  readonly peers: boolean
  /** Small shapes, to see that everything runs. */
  readonly tiny: boolean
  readonly rounds: number
  readonly note: (text: string) => void
}

const temporary = join(tmpdir(), 'glossa-bench')

/** Our figure against one peer's in turns; without the peer, our figure alone. Figures are milliseconds. */
async function against(
  { peers, rounds }: Bench,
  name: string,
  ours: () => Promise<number>,
  start: () => Promise<{ peer: Peer; run: () => Promise<number> }>,
): Promise<{ ms: number; row: Row['peers'][number] | undefined }> {
  await ours()
  const alone = async (): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < rounds; i++) times.push(await ours())
    return median(times)
  }
  if (!peers) return { ms: await alone(), row: undefined }
  try {
    const { peer, run } = await start()
    try {
      await run()
      const result = await race(rounds, ours, run)
      return { ms: result.ours, row: { name, value: result.peer, ...result } }
    } finally {
      peer.stop()
    }
  } catch (error) {
    if (!(error instanceof PeerError)) throw error
    return { ms: await alone(), row: { name, missing: error.message } }
  }
}

/** A random GGUF of the shape in Q4_0, made by the peer's script. */
function randomGguf(shape: string): string {
  const file = join(temporary, `${shape}-q4_0.gguf`)
  if (existsSync(file)) return file
  mkdirSync(temporary, { recursive: true })
  const script = fileURLToPath(new URL('../../../bench/peers/random-gguf.mjs', import.meta.url))
  if (!existsSync(script)) throw new PeerError('the peers are part of the repository, not of the package')
  execFileSync(process.execPath, [script, '--out', file, '--shape', shape], { stdio: 'ignore' })
  return file
}

/** Decode and prefill of a 0.5B-shaped model in 4 bits, with as many bytes a weight as Q4_0. */
async function generation(bench: Bench): Promise<Row[]> {
  const { engine, machine } = bench
  const shape = bench.tiny ? 'tiny' : 'qwen2.5-0.5b'
  const spec = shapes[shape]
  const [title, block, context, prompt] = bench.tiny ? ['tiny', 32, 256, 128] : ['0.5B', 128, 1024, 512]
  bench.note(`  making random weights of the shape ${shape} ...`)
  using model = new Model({ engine, spec, params: randomQuantized(spec, block), sealed: true, context })
  const stepper = new Stepper(model, context)
  const bytes = weightBill(model).bytesPerToken
  let peer: Peer | undefined
  const llama = async (): Promise<Peer> => {
    peer ??= await Peer.start('llama.mjs', [
      '--model',
      randomGguf(shape),
      '--threads',
      `${machine.threads}`,
      '--context',
      `${context}`,
    ])
    return peer
  }
  const ask = async (command: object): Promise<number> =>
    median((await (await llama()).ask<{ ms: number[] }>(command)).ms)
  // Both are measured with both models in memory, so the peer is kept until the end.
  const keep = { stop: () => undefined } as unknown as Peer
  try {
    const decode = await against(
      bench,
      'llama.cpp Q4_0',
      () => stepper.decode(32, 64),
      async () => {
        await llama()
        return { peer: keep, run: () => ask({ cmd: 'decode', tokens: 32, context: 64 }) }
      },
    )
    const prefill = await against(
      bench,
      'llama.cpp Q4_0',
      () => stepper.prefill(prompt, 3),
      async () => {
        await llama()
        return { peer: keep, run: () => ask({ cmd: 'prefill', tokens: prompt, repeat: 1 }) }
      },
    )
    const { layers, width, attention, ffn } = spec
    const { heads, keyValueHeads, headSize } = attention
    const matrices = layers * width * (2 * (heads + keyValueHeads) * headSize + 3 * ffn.hidden)
    return [
      {
        name: `decode, ${title} int4, 1 token`,
        value: decode.ms,
        unit: 'ms',
        share: { of: bytes / 1e6 / decode.ms / machine.bandwidth, what: 'memory bandwidth' },
        peers: decode.row ? [decode.row] : [],
      },
      {
        name: `prefill, ${title} int4, ${prompt} tokens`,
        value: prefill.ms,
        unit: 'ms',
        share: { of: (2 * matrices * prompt) / 1e6 / prefill.ms / machine.peak, what: 'peak f32' },
        peers: prefill.row ? [prefill.row] : [],
      },
    ]
  } finally {
    peer?.stop()
  }
}

/** A training step of a GPT of 30M parameters. */
async function training(bench: Bench): Promise<Row[]> {
  const { engine, machine } = bench
  const run = await trainingRun(engine, bench.tiny ? tinyShape : trainingShapes['30M'])
  const { config } = run
  const flags = (threads: number): string[] =>
    Object.entries({ ...config, threads }).flatMap(([key, value]) => [`--${key}`, `${value}`])
  const peers: Row['peers'][number][] = []
  let ms: number | undefined
  // In Node both run on one thread as they come; the worker threads are ours, and so are tfjs's faster gradients.
  for (const [name, script, threads] of [
    ['jax-js (wasm), one thread as it comes', 'jax-train.mjs', 1],
    ['jax-js (wasm), worker threads supplied', 'jax-train.mjs', machine.threads],
    ['tfjs (wasm), one thread as it comes', 'tfjs-train.mjs', 1],
    ['tfjs (wasm), worker threads supplied', 'tfjs-train.mjs', machine.threads],
  ] as const) {
    const result = await against(
      { ...bench, rounds: Math.min(bench.rounds, 3) },
      name,
      run.step,
      async () => {
        const peer = await Peer.start(script, flags(threads))
        return {
          peer,
          run: async () => median((await peer.ask<{ ms: number[] }>({ cmd: 'step', repeat: 1 })).ms),
        }
      },
    )
    ms = Math.min(ms ?? Number.POSITIVE_INFINITY, result.ms)
    if (result.row) peers.push(result.row)
    if (!bench.peers) break
  }
  if (bench.peers && engine.provider !== 'cpu') peers.push(torchOnCuda(run.config, ms!))
  const gflops = run.flops / 1e6 / ms!
  const title = `training step, GPT ${(run.parameters / 1e6).toFixed(1)}M, ${config.batch} x ${config.context} tokens`
  return [
    { name: title, value: ms!, unit: 'ms', peers },
    {
      name: '  the same as a rate',
      value: gflops,
      unit: 'GFLOP/s',
      share: { of: gflops / machine.peak, what: 'peak f32' },
      peers: [],
    },
  ]
}

/** A training step of one size, in tokens a second. */
const sized =
  (size: keyof typeof trainingShapes) =>
  async (bench: Bench): Promise<Row[]> => {
    const { engine, machine, rounds } = bench
    const config = bench.tiny ? tinyShape : trainingShapes[size]
    const run = await trainingRun(engine, config)
    const tokens = config.batch * config.context
    const rate = (ms: number): number => (1000 * tokens) / ms
    const flags = Object.entries({ ...config, threads: machine.threads })
    const script = (name: string) => async () => {
      const peer = await Peer.start(
        name,
        flags.flatMap(([key, value]) => [`--${key}`, `${value}`]),
      )
      const run = async () => median((await peer.ask<{ ms: number[] }>({ cmd: 'step', repeat: 1 })).ms)
      return { peer, run }
    }
    const torch = async () => ({
      peer: { stop: () => undefined } as unknown as Peer,
      run: () => torchStep(config, machine.threads),
    })
    const few = { ...bench, rounds: Math.min(rounds, 3) }
    const results = [await against(few, 'PyTorch CPU', run.step, torch)]
    if (bench.peers)
      for (const [name, file] of [
        ['jax-js (wasm), worker threads supplied', 'jax-train.mjs'],
        ['tfjs (wasm), worker threads supplied', 'tfjs-train.mjs'],
      ] as const)
        results.push(await against(few, name, run.step, script(file)))
    const ms = Math.min(...results.map((result) => result.ms))
    run.dispose()
    return [
      {
        name: `training, GPT ${bench.tiny ? 'tiny' : size}, ${config.batch} x ${config.context} tokens`,
        value: rate(ms),
        unit: 'tokens/s',
        share: { of: run.flops / 1e6 / ms / machine.peak, what: 'peak f32' },
        peers: results.flatMap(({ row }) =>
          row ? ['missing' in row ? row : { ...row, value: rate(row.value) }] : [],
        ),
      },
    ]
  }

/** A step of a TopK sparse autoencoder, in tokens a second. */
async function sae(bench: Bench): Promise<Row[]> {
  const { engine, machine, rounds } = bench
  const shape = bench.tiny ? tinySaeShape : saeShape
  const { width, features, batch, k } = shape
  const run = saeRun(engine, shape)
  const rate = (ms: number): number => (1000 * batch) / ms
  const { ms, row } = await against(
    { ...bench, rounds: Math.min(rounds, 3) },
    'PyTorch CPU',
    run.step,
    async () => ({
      peer: { stop: () => undefined } as unknown as Peer,
      run: () => torchSaeStep(shape, machine.threads),
    }),
  )
  run.dispose()
  const gflops = run.flops / 1e6 / ms
  return [
    {
      name: `TopK SAE, ${width} to ${features}, k ${k}, ${batch} tokens`,
      value: rate(ms),
      unit: 'tokens/s',
      peers: row ? ['missing' in row ? row : { ...row, value: rate(row.value) }] : [],
    },
    {
      name: '  the same as dense products',
      value: gflops,
      unit: 'GFLOP/s',
      share: { of: gflops / machine.peak, what: 'peak f32' },
      peers: [],
    },
  ]
}

/** Opening a 500 MB model, in a fresh process. */
async function opening({ rounds, note }: Bench): Promise<Row[]> {
  note('  a random checkpoint of 500 MB (made once) ...')
  const folder = randomCheckpoint()
  const size = statSync(join(folder, 'model.safetensors')).size
  // Under tsx the file beside us is TypeScript, in the package it is JavaScript.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const script = fileURLToPath(new URL(`openChild.${extension}`, import.meta.url))
  const costs = Array.from(
    { length: rounds },
    () =>
      JSON.parse(
        execFileSync(process.execPath, [...process.execArgv, script, folder], { encoding: 'utf8' }),
      ) as OpenCost,
  )
  const middle = (pick: (cost: OpenCost) => number): number => median(costs.map(pick))
  return [
    {
      name: `open ${(size / 1e6).toFixed(0)} MB of f32, ready to run`,
      value: middle((c) => c.openMs),
      unit: 'ms',
      peers: [],
    },
    { name: '  first token of a prompt of 8', value: middle((c) => c.firstTokenMs), unit: 'ms', peers: [] },
    {
      name: '  resident memory when open, of the file',
      value: middle((c) => c.openResidentBytes) / size,
      unit: 'times',
      peers: [],
    },
    {
      name: '  resident memory after 128 tokens',
      value: middle((c) => c.residentBytes) / size,
      unit: 'times',
      peers: [],
    },
  ]
}

/** From a loss function to a compiled training step of 12 layers. */
async function compiling({ engine, rounds }: Bench): Promise<Row[]> {
  const runs: Awaited<ReturnType<typeof compileTraining>>[] = []
  for (let i = 0; i < rounds; i++) runs.push(await compileTraining(engine))
  return [
    {
      name: 'trace and compile a 12-layer training step',
      value: median(runs.map(({ traceMs, compileMs }) => traceMs + compileMs)),
      unit: 'ms',
      peers: [],
    },
    {
      name: '  of which tracing and differentiating',
      value: median(runs.map(({ traceMs }) => traceMs)),
      unit: 'ms',
      peers: [],
    },
  ]
}

/** Streaming clients of the server, many against one. */
async function clients({ tiny, rounds, machine }: Bench): Promise<Row[]> {
  const count = tiny ? 4 : 64
  const tokens = tiny ? 8 : 64
  const { one, many, ratio } = await serving({ clients: count, tokens, rounds, threads: machine.threads })
  return [
    {
      name: `serving, ${count} streaming clients, ${tokens} tokens each`,
      value: many.tokensPerSecond,
      unit: 'tokens/s',
      peers: [{ name: 'one client', value: one.tokensPerSecond, ...ratio }],
    },
    { name: '  first token, median', value: percentile(many.first, 0.5), unit: 'ms', peers: [] },
    { name: '  first token, 95 % of them', value: percentile(many.first, 0.95), unit: 'ms', peers: [] },
    { name: '  first token of one client', value: percentile(one.first, 0.5), unit: 'ms', peers: [] },
  ]
}

export const parts = {
  generation,
  training,
  'training-5m': sized('5M'),
  'training-30m': sized('30M'),
  'training-125m': sized('125M'),
  sae,
  opening,
  compiling,
  serving: clients,
} as const
