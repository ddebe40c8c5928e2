/** The studio without a server: the same operations over models that run in this worker of the page. */
import * as z from 'zod'
import { parseExplanations } from '../../src/interp/sae/explain/explanations.ts'
import { saeLensFiles, saeLensOf } from '../../src/interp/sae/files/saeLensLayout.ts'
import { parseMethodSpec, readMethodOptions } from '../../src/method/index.ts'
import type { OpenDecoder } from '../../src/serve/host/pool.ts'
import { expose } from '../../src/serve/port.ts'
import { readSafetensors } from '../../src/store/safetensorsHeader.ts'
import { MemorySource } from '../../src/store/source.ts'
import { type Bench, type OpenedSae, type Operation, operation } from '../../src/studio/operation.ts'
import { activations, feature, features } from '../../src/studio/operations/features.ts'
import { attention, lens, patch, patchAt, tap } from '../../src/studio/operations/look.ts'
import { model } from '../../src/studio/operations/model.ts'
import { fit, sweepSteer } from '../../src/studio/operations/steer.ts'
import { measure, score, write } from '../../src/studio/operations/write.ts'
import {
  type DecoderParams,
  type Edits,
  Engine,
  hasWebGpu,
  joinEdits,
  loadFiles,
  Model,
  type ModelFiles,
  steer,
  webRuntime,
} from '../../src/web.ts'
import { runs, trainRun } from './train.ts'

/** The page's folder; this script lies in assets/. */
const base = new URL(/* @vite-ignore */ '../', import.meta.url)
const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']

const fetched = async (path: string): Promise<Uint8Array> => {
  const response = await fetch(new URL(path, base))
  if (!response.ok) throw new Error(`${path}: status ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}
const text = async (path: string): Promise<string> => new TextDecoder().decode(await fetched(path))

/** What has been learned in this page. */
const vectors = new Map<string, steer.ControlVector>()

let saeNames: readonly string[] = []
/** Where they are in the repository, for what is copied from a page. */
const saesFolder = 'models/saes/'
const openedSaes = new Map<string, Promise<OpenedSae>>()
async function readSae(name: string): Promise<OpenedSae> {
  const path = `saes/${name}/${saeLensFiles.config}`
  const weightsPath = `saes/${name}/${saeLensFiles.weights}`
  const [config, weights, said] = await Promise.all([
    text(path),
    fetched(weightsPath),
    text(`saes/${name}/explanations.json`),
  ])
  const checkpoint = readSafetensors(new MemorySource(weightsPath, weights))
  const { sae } = saeLensOf(JSON.parse(config) as Record<string, unknown>, checkpoint, { path, weightsPath })
  return {
    folder: `${saesFolder}${name}`,
    sae,
    explanations: parseExplanations(said, `saes/${name}/explanations.json`),
  }
}
async function openSae(name: string): Promise<OpenedSae> {
  if (!saeNames.includes(name)) throw new Error(`there is no SAE '${name}' here`)
  if (!openedSaes.has(name)) openedSaes.set(name, readSae(name))
  return openedSaes.get(name)!
}

/** Of the methods that act without a server: names in the place of files. */
const vectorOptions = z.strictObject({ file: z.string(), strength: z.number().default(1) })
const featureOptions = z.strictObject({
  sae: z.string(),
  feature: z.int().nonnegative(),
  strength: z.number().default(1),
  clamp: z.number().optional(),
})

let engine: Promise<Engine> | undefined
const startEngine = async (): Promise<Engine> =>
  new Engine(
    await webRuntime({
      ...{ provider: (await hasWebGpu()) ? 'webgpu' : 'wasm', assets: new URL('ort/', base).href },
    }),
  )

const openEngine = (): Promise<Engine> => {
  engine ??= startEngine()
  return engine
}

async function openModel(name: string): Promise<OpenDecoder> {
  const [config, weights, tokenizer, settings] = await Promise.all(
    files.map((file) => fetched(`models/${name}/${file}`)),
  )
  const loaded = loadFiles({
    'config.json': config,
    'model.safetensors': weights,
    'tokenizer.json': tokenizer,
    'tokenizer_config.json': settings,
  } as unknown as ModelFiles)
  return opening(new Model({ engine: await openEngine(), ...loaded }))
}

function opening(made: Model): OpenDecoder {
  return {
    kind: 'decoder',
    model: made,
    rules: [],
    batcher: undefined as never,
    close: async () => made[Symbol.dispose](),
    async methods(specs) {
      let edit: Edits = {}
      for (const spec of specs) {
        const method = parseMethodSpec(spec)
        if (method.id === 'control-vector') {
          const { file, strength } = readMethodOptions(method, vectorOptions)
          edit = joinEdits(edit, steers.open(file, made)(strength))
        } else if (method.id === 'sae-steer') {
          const { sae: from, ...options } = readMethodOptions(method, featureOptions)
          edit = joinEdits(
            edit,
            steer.shiftFeature((await openSae(from.replace(saesFolder, ''))).sae, options),
          )
        } else
          throw new Error(
            `${spec}: in a page without a server there are control-vector:file=NAME, of what was learned here, and sae-steer:sae=NAME,feature=N`,
          )
      }
      return { edit, rules: [] }
    },
  }
}

const open = new Map<string, Promise<OpenDecoder>>()
const opened = (name: string): Promise<OpenDecoder> => {
  if (!open.has(name)) open.set(name, openModel(name))
  return open.get(name)!
}
let names: readonly string[] = []
/** A model that was trained here: another one's with new weights. */
function keepTrained(name: string, from: string, params: DecoderParams): void {
  open.set(
    name,
    opened(from).then(({ model }) => {
      const { engine, spec, tokenizer } = model
      return opening(new Model({ engine, spec, params, path: name, ...(tokenizer && { tokenizer }) }))
    }),
  )
  trained.add(name)
}
const trained = new Set<string>()
const pool: Bench['pool'] = {
  with: async (name, use) => use(await opened(name)),
  async *streamWith(name, use) {
    yield* use(await opened(name))
  },
  list: () => [...names, ...trained].map((id) => ({ id, kind: 'decoder', loaded: open.has(id), created: 0 })),
  pathOf: (name) => name,
}
const steers: Bench['steers'] = {
  list: () => [...vectors.keys()].map((name) => ({ name, file: name })),
  keep(name, vector) {
    vectors.set(name, vector)
    return name
  },
  open(name) {
    const vector = vectors.get(name)
    if (!vector) throw new Error(`there is no steer '${name}' here`)
    return (strength) => steer.controlVectorEdits(vector, strength)
  },
}
const bench: Bench = {
  ...{ pool, steers, folder: '', results: '' },
  saes: {
    get names() {
      return saeNames
    },
    open: openSae,
  },
}

const about = operation({
  name: 'about',
  input: z.strictObject({}),
  async run() {
    const list = JSON.parse(await text('models/list.json')) as { models: string[]; saes: string[] }
    ;[names, saeNames] = [list.models, list.saes]
    return { models: pool.list(), saes: saeNames, steers: steers.list() }
  },
})
const methods = operation({
  name: 'methods',
  input: z.strictObject({}),
  run: async () => JSON.parse(await text('methods.json')) as unknown,
})
const operations: readonly Operation[] = [
  about,
  methods,
  model,
  write,
  score,
  measure,
  lens,
  attention,
  tap,
  patch,
  patchAt,
  features,
  feature,
  activations,
  fit,
  sweepSteer,
  runs,
  trainRun(openEngine, keepTrained),
]

const service = {
  async *operate(
    { name, input }: { name: string; input: unknown },
    signal: AbortSignal,
  ): AsyncGenerator<unknown, void, void> {
    const own = operations.find((one) => one.name === name)
    if (!own) throw new Error('this needs the studio with a server: npm start')
    const result = own.run(bench, own.input.parse(input), signal)
    if (typeof result === 'object' && result !== null && Symbol.asyncIterator in result)
      yield* result as AsyncIterable<unknown>
    else yield await result
  },
}
export type StaticService = typeof service

expose(globalThis as never, service)
