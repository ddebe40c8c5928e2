/** Several SAEs that learn from one stream of activations: each has its own program, all take their steps together. */
import { mapTree, random, type Tensor, tensor } from '../../array/index.ts'
import type { Engine } from '../../onnx/index.ts'
import {
  type Batches,
  type Optimizer,
  type StepReport,
  type Steps,
  Trainer,
  type TrainingState,
  wholly,
} from '../../train/index.ts'
import type { ActivationBatch, Chunk } from '../activations/index.ts'
import type { TrainedParams } from './architecture.ts'
import type { ChosenArchitecture } from './architectures/index.ts'
import { type SaeMemory, type SaeRows, saeObjective } from './objective.ts'
import { foldScale, type Sae } from './sae.ts'
import type { SaeSizes } from './start.ts'
import { unitNormDecoder } from './unitNorm.ts'

export interface SaeMember {
  readonly name: string
  readonly chosen: ChosenArchitecture
  /**
   * Where activations come from. Of several sites one SAE learns what they have in common, as of a group of layers
   * (Ghilardi et al. 2024): each gives an equal share of the rows of a batch.
   */
  readonly sites: readonly string[]
  /** Of a transcoder: where what it gives belongs. */
  readonly siteOut?: string | undefined
  readonly dSae: number
  readonly seed: number
  readonly optimizer: Optimizer<unknown>
  /** The learning rate of a step, counted from 0. */
  readonly rate: (step: number) => number
  readonly clip?: number | undefined
  /** Tokens without it after which a feature is dead. */
  readonly deadAfter: number
}

export interface SaeGroupOptions {
  readonly engine: Engine
  readonly members: readonly SaeMember[]
  /** Scaled activations of all sites, the same number of rows in each batch. */
  readonly batches: Batches<ActivationBatch>
  /** Activations to begin from, as the model has them. */
  readonly sample: Chunk
  /** Factors that batches are scaled by, by site; 1 by default. */
  readonly scale?: Readonly<Record<string, number>>
  readonly steps: number
}

/** A trained SAE for activations as the model has them. */
export interface NamedSae {
  /** Of the member; with the site behind it where one SAE has learned from several. */
  readonly name: string
  readonly sae: Sae
}

interface Entry {
  readonly member: SaeMember
  readonly sizes: SaeSizes
  readonly trainer: Trainer<TrainedParams, undefined, TrainedParams, SaeRows, unknown>
}

export class SaeGroup implements Steps {
  readonly #options: SaeGroupOptions
  readonly #entries: readonly Entry[]

  constructor(options: SaeGroupOptions) {
    const { members, batches } = options
    const names = new Set(members.map(({ name }) => name))
    if (members.length === 0) throw new Error('there is no SAE to train')
    if (names.size < members.length) throw new Error('two SAEs have one name')
    for (const name of names)
      if (!/^[\w-]+$/.test(name))
        throw new Error(`'${name}' is no name of an SAE: letters, digits, _ and - make one`)
    this.#options = options
    const shared = latest(batches)
    this.#entries = members.map((member) => this.#entry(member, shared))
  }

  #entry(member: SaeMember, shared: Batches<ActivationBatch>): Entry {
    const { engine, sample, scale = {}, steps } = this.#options
    const { sites, siteOut, chosen, dSae, seed, optimizer, rate, clip, deadAfter } = member
    const widthOf = (site: string): number => {
      const rows = sample.rows[site]
      if (!rows) throw new Error(`${member.name}: there are no activations at '${site}'`)
      return rows.length / sample.count
    }
    const [first, ...more] = sites.map(widthOf)
    if (first === undefined) throw new Error(`${member.name}: name a site`)
    if (more.some((width) => width !== first))
      throw new Error(`${member.name}: the sites ${sites.join(', ')} are not of one width`)
    const transcoder = siteOut !== undefined
    if (transcoder && sites.length > 1) throw new Error(`${member.name}: a transcoder reads one site`)
    const sizes = { dIn: first, dOut: transcoder ? widthOf(siteOut) : first, dSae, transcoder }
    const begin = {
      count: sample.count,
      y: transcoder ? scaled(sample.rows[siteOut]!, scale[siteOut]) : this.#pooledSample(sites),
    }
    const params = chosen.architecture.init(sizes, chosen.options, begin, seed)
    const unitNorm = chosen.architecture.unitNorm(chosen.options)
    const trainer = new Trainer<TrainedParams, undefined, TrainedParams, SaeRows, unknown>({
      engine,
      model: wholly(params),
      objective: saeObjective(chosen, { sizes, steps, deadAfter }),
      batches: { at: async (step) => rowsOf(await shared.at(step), sites, siteOut, step) },
      optimizer: unitNorm ? unitNormDecoder(optimizer) : optimizer,
      rate,
      clip,
      seed: random.fold(seed, 3),
    })
    return { member, sizes, trainer }
  }

  /** Rows of all sites in turn, as many as one has. */
  #pooledSample(sites: readonly string[]): Float32Array {
    const { sample, scale = {} } = this.#options
    const all = sites.map((site) => scaled(sample.rows[site]!, scale[site]))
    if (all.length === 1) return all[0]!
    const width = all[0]!.length / sample.count
    const pooled = new Float32Array(all[0]!.length)
    for (let row = 0; row < sample.count; row++)
      pooled.set(all[row % all.length]!.subarray(row * width, (row + 1) * width), row * width)
    return pooled
  }

  get step(): number {
    return this.#entries[0]!.trainer.step
  }

  /** One step of each, on the same tokens. The loss is their mean. */
  async next(): Promise<StepReport> {
    const reports: StepReport[] = []
    for (const { trainer, member } of this.#entries)
      reports.push(
        await trainer.next().catch((error: unknown) => {
          throw new Error(`${member.name}: ${(error as Error).message}`, { cause: error })
        }),
      )
    const [first] = reports as [StepReport]
    if (reports.length === 1) return first
    const metrics = this.#entries.flatMap(({ member }, i) =>
      Object.entries({ loss: reports[i]!.loss, ...reports[i]!.metrics }).map(
        ([name, value]) => [`${member.name}/${name}`, value] as const,
      ),
    )
    return {
      ...first,
      loss: reports.reduce((sum, { loss }) => sum + loss, 0) / reports.length,
      gradientNorm: Math.hypot(...reports.map(({ gradientNorm }) => gradientNorm)),
      metrics: Object.fromEntries(metrics),
    }
  }

  get state(): TrainingState {
    const states = this.#entries.map(({ member, trainer }) => [member.name, trainer.state] as const)
    const branch = (key: 'params' | 'optimizer' | 'memory') =>
      Object.fromEntries(states.map(([name, state]) => [name, state[key]]))
    return {
      step: this.step,
      params: branch('params'),
      optimizer: branch('optimizer'),
      memory: branch('memory'),
    }
  }

  restore({ step, params, optimizer, memory }: TrainingState): void {
    for (const { member, trainer } of this.#entries)
      trainer.restore({
        step,
        params: under(params, member.name),
        optimizer: under(optimizer, member.name),
        memory: under(memory, member.name),
      })
  }

  /** What has been learned so far; no memory is shared with the steps to come. */
  saes(): NamedSae[] {
    const { scale = {} } = this.#options
    return this.#entries.flatMap(({ member, sizes, trainer }) => {
      const { architecture, options } = member.chosen
      const { own } = trainer.state.memory as SaeMemory
      const params = mapTree(trainer.params, (leaf) => tensor(leaf.data.slice(), leaf.sizes, leaf.dtype))
      const made = architecture.finish(params, own, sizes, options)
      return member.sites.map((site) => {
        const factor = scale[site] ?? 1
        const out = member.siteOut === undefined ? factor : (scale[member.siteOut] ?? 1)
        const sae = foldScale(made, factor, out)
        return {
          name: member.sites.length > 1 ? `${member.name}/${site}` : member.name,
          sae: { ...sae, config: { ...sae.config, site, siteOut: member.siteOut } },
        }
      })
    })
  }

  dispose(): void {
    for (const { trainer } of this.#entries) trainer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

const scaled = (rows: Float32Array, factor = 1): Float32Array =>
  factor === 1 ? rows : rows.map((x) => x * factor)

/** Batches of which the last is kept, as everyone asks for the same. */
function latest<B>(batches: Batches<B>): Batches<B> {
  let last: { readonly step: number; readonly batch: Promise<B> } | undefined
  return {
    at(step) {
      if (last?.step !== step) {
        last = { step, batch: Promise.resolve(batches.at(step)) }
        last.batch.catch(() => {
          last = undefined
        })
      }
      return last.batch
    },
  }
}

/** The rows of a member: of several sites, each gives the next part of the batch, another one in each step. */
function rowsOf(
  batch: ActivationBatch,
  sites: readonly string[],
  siteOut: string | undefined,
  step: number,
): SaeRows {
  if (siteOut !== undefined) return { x: batch[sites[0]!]!, y: batch[siteOut]! }
  if (sites.length === 1) return { x: batch[sites[0]!]! }
  const [size, width] = batch[sites[0]!]!.sizes as [number, number]
  const data = new Float32Array(size * width)
  sites.forEach((_, part) => {
    const from = Math.floor((part * size) / sites.length)
    const to = Math.floor(((part + 1) * size) / sites.length)
    const rows = batch[sites[(part + step) % sites.length]!]!.data as Float32Array
    data.set(rows.subarray(from * width, to * width), from * width)
  })
  return { x: tensor(data, [size, width]) }
}

/** A branch of a saved tree, whose leaves may stand flat under their paths. */
function under(tree: unknown, name: string): unknown {
  const own = (tree ?? {}) as Readonly<Record<string, unknown>>
  if (name in own) return own[name]
  const leaves = Object.entries(own).filter(([path]) => path.startsWith(`${name}.`))
  return Object.fromEntries(leaves.map(([path, leaf]) => [path.slice(name.length + 1), leaf as Tensor]))
}
