/** A training run: what it has learned so far, and one step at a time. The loop around it is in `run.ts`. */
import {
  type Jitted,
  leaves,
  mapTree,
  random,
  scalar,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
  zipTrees,
} from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import { clipByGlobalNorm, globalNorm } from './clip.ts'
import type { Batches } from './data/types.ts'
import type { Loss, Objective } from './objective.ts'
import type { Optimizer } from './optimizer.ts'

/** What is trained: a tree of parameters over others that stay as they are. */
export interface Trainable<Params, Frozen, Parts> {
  readonly params: Params
  readonly frozen: Frozen
  /** The model that the objective takes: both together. */
  assemble(params: Params, frozen: Frozen): Parts
}

/** A model of which everything is trained. */
export const wholly = <Params>(params: Params): Trainable<Params, undefined, Params> => ({
  params,
  frozen: undefined,
  assemble: (trained) => trained,
})

export type { Batches }

export interface TrainerOptions<Params, Frozen, Parts, Batch, State> {
  readonly engine: Engine
  readonly model: Trainable<Params, Frozen, Parts>
  readonly objective: Objective<Parts, Batch>
  /** What `measure` measures; the objective itself by default. */
  readonly measured?: Objective<Parts, Batch>
  readonly batches: Batches<Batch>
  readonly optimizer: Optimizer<State>
  /** The learning rate of a step, counted from 0. */
  readonly rate: (step: number) => number
  /** Batches whose gradients are added up for one step; 1 by default. */
  readonly accumulate?: number
  /** Largest norm of the gradient; none by default. */
  readonly clip?: number | undefined
  /** Of the random numbers in the objective. */
  readonly seed?: number
}

export interface StepReport {
  /** Steps taken, this one included. */
  readonly step: number
  /** Before the update, per unit of weight. */
  readonly loss: number
  /** What the loss was averaged over: target tokens, rows or pairs. */
  readonly weight: number
  /** Of the gradient, before it was clipped. */
  readonly gradientNorm: number
  readonly rate: number
  readonly metrics: Readonly<Record<string, number>>
}

/** Everything that a later step depends on. The position in the data is the number of steps. */
export interface TrainingState {
  readonly step: number
  readonly params: unknown
  readonly optimizer: unknown
  /** What the objective remembers; nothing for most. */
  readonly memory?: unknown
}

/** What a run can be made of: a trainer, or several that take their steps together. */
export interface Steps {
  readonly state: TrainingState
  restore(state: TrainingState): void
  next(): Promise<StepReport>
}

interface Updated<Params, State> {
  readonly params: Params
  readonly state: State
  readonly norm: Tensor
}
interface Summed {
  readonly sums: unknown
  readonly loss: Loss
  readonly memory: unknown
}

export class Trainer<Params, Frozen, Parts, Batch, State> implements Steps {
  readonly options: TrainerOptions<Params, Frozen, Parts, Batch, State>
  readonly #accumulate: number
  #params: Params
  #state: State
  #memory: unknown
  #step = 0
  readonly #whole: Jitted<
    [Params, State, Frozen, Batch, key: Tensor, rate: Tensor, memory: unknown],
    Updated<Params, State> & { readonly loss: Loss; readonly memory: unknown }
  >
  readonly #add: Jitted<[sums: unknown, Params, Frozen, Batch, key: Tensor, memory: unknown], Summed>
  readonly #apply: Jitted<
    [Params, State, sums: unknown, weight: Tensor, rate: Tensor],
    Updated<Params, State>
  >
  readonly #measure: Jitted<[Params, Frozen, Batch, key: Tensor, memory: unknown], Loss>

  constructor(options: TrainerOptions<Params, Frozen, Parts, Batch, State>) {
    const { engine, model, objective, optimizer, clip, accumulate = 1 } = options
    if (!(Number.isInteger(accumulate) && accumulate > 0))
      throw new RangeError(`accumulate is a number of batches, not ${accumulate}`)
    if (clip !== undefined && !(clip > 0)) throw new RangeError(`clip is a norm above 0, not ${clip}`)
    this.options = options
    this.#accumulate = accumulate
    this.#params = model.params
    this.#state = optimizer.init(model.params)
    // A copy, because each step writes its memory over the one before.
    this.#memory = mapTree(objective.memory, copied)

    const lossOf = (params: Params, frozen: Frozen, batch: Batch, key: Tensor, memory: unknown) => {
      const { memory: after, ...loss } = objective.loss(model.assemble(params, frozen), batch, key, memory)
      return { loss, memory: after }
    }
    const remembered = (argument: string) =>
      leaves(objective.memory).length > 0 ? { memory: argument } : undefined
    const update = (params: Params, state: State, grads: Params, rate: Tensor): Updated<Params, State> => {
      const clipped = clip === undefined ? { grads, norm: globalNorm(grads) } : clipByGlobalNorm(grads, clip)
      return { ...optimizer.update(params, clipped.grads, state, rate), norm: clipped.norm }
    }
    this.#whole = engine.jit(
      (
        params: Params,
        state: State,
        frozen: Frozen,
        batch: Batch,
        key: Tensor,
        rate: Tensor,
        memory: unknown,
      ) => {
        const [[, found], grads] = valueAndGrad((p: Params) => {
          const made = lossOf(p, frozen, batch, key, memory)
          return [made.loss.sum.div(made.loss.weight), made] as const
        })(params)
        return { ...update(params, state, grads as Params, rate), ...found }
      },
      {
        name: 'trainingStep',
        axes: [undefined, undefined, undefined, objective.axes],
        inPlace: { params: '0', state: '1', ...remembered('6') },
      },
    )
    this.#add = engine.jit(
      (sums: unknown, params: Params, frozen: Frozen, batch: Batch, key: Tensor, memory: unknown) => {
        const [[, found], grads] = valueAndGrad((p: Params) => {
          const made = lossOf(p, frozen, batch, key, memory)
          return [made.loss.sum, made] as const
        })(params)
        return { sums: zipTrees([sums, grads as unknown], ([sum, g]) => sum!.add(g!)), ...found }
      },
      {
        name: 'gradients',
        axes: [undefined, undefined, undefined, objective.axes],
        inPlace: { sums: '0', ...remembered('5') },
      },
    )
    this.#apply = engine.jit(
      (params: Params, state: State, sums: unknown, weight: Tensor, rate: Tensor) => {
        const each = weight.reciprocal()
        return update(params, state, mapTree(sums, (sum) => sum.mul(each)) as Params, rate)
      },
      { name: 'update', inPlace: { params: '0', state: '1' } },
    )
    const measured = options.measured ?? objective
    this.#measure = engine.jit(
      (params: Params, frozen: Frozen, batch: Batch, key: Tensor, memory: unknown) => {
        const { memory: _, ...loss } = measured.loss(model.assemble(params, frozen), batch, key, memory)
        return loss
      },
      { name: 'measure', axes: [undefined, undefined, measured.axes] },
    )
  }

  /** Steps taken so far. */
  get step(): number {
    return this.#step
  }

  /** The parameters as they are now; the next step takes their memory. */
  get params(): Params {
    return this.#params
  }

  /** The model as it is now. */
  get parts(): Parts {
    const { model } = this.options
    return model.assemble(this.#params, model.frozen)
  }

  /** What a resumed run needs; the next step takes its memory. */
  get state(): TrainingState {
    const memory = this.#memory === undefined ? {} : { memory: this.#memory }
    return { step: this.#step, params: this.#params, optimizer: this.#state, ...memory }
  }

  /** Goes on from a state of the same run. Throws where a tensor is missing or has another shape. */
  restore({ step, params, optimizer, memory }: TrainingState): void {
    this.#params = fitted(this.#params, params, 'params')
    this.#state = fitted(this.#state, optimizer, 'optimizer')
    this.#memory = fitted(this.#memory, memory, 'memory')
    this.#step = step
  }

  #key(index: number): Tensor {
    return tensor(BigInt64Array.of(BigInt(random.fold(this.options.seed ?? 0, index))), [])
  }

  /** One step. A loss or gradient that is no number is an error; the state is lost then. */
  async next(): Promise<StepReport> {
    const rate = this.options.rate(this.#step)
    const { loss, norm } =
      this.#accumulate === 1 ? await this.#nextWhole(rate) : await this.#nextAccumulated(rate)
    this.#step++
    const weight = loss.weight.item()
    const report = {
      step: this.#step,
      loss: loss.sum.item() / weight,
      weight,
      gradientNorm: norm.item(),
      rate,
      metrics: averages(loss, weight),
    }
    if (!Number.isFinite(report.loss) || !Number.isFinite(report.gradientNorm))
      throw new Error(
        `step ${report.step}: the loss is ${report.loss}, the norm of its gradient ${report.gradientNorm}. ` +
          'A lower learning rate, a longer warm-up or a smaller clip helps',
      )
    return report
  }

  async #nextWhole(rate: number): Promise<{ loss: Loss; norm: Tensor }> {
    const { batches, model } = this.options
    const batch = await batches.at(this.#step)
    const { params, state, loss, norm, memory } = await this.#whole(
      this.#params,
      this.#state,
      model.frozen,
      batch,
      this.#key(this.#step),
      tensor([rate], []),
      this.#memory,
    )
    this.#params = params
    this.#state = state
    this.#memory = memory
    return { loss, norm }
  }

  async #nextAccumulated(rate: number): Promise<{ loss: Loss; norm: Tensor }> {
    const { batches, model } = this.options
    let sums: unknown = mapTree(this.#params, (leaf) => zeros(leaf.sizes, leaf.dtype))
    let total: Loss | undefined
    for (let i = 0; i < this.#accumulate; i++) {
      const index = this.#step * this.#accumulate + i
      const batch = await batches.at(index)
      const key = this.#key(index)
      const result = await this.#add(sums, this.#params, model.frozen, batch, key, this.#memory)
      sums = result.sums
      this.#memory = result.memory
      total = total ? added(total, result.loss) : result.loss
    }
    const loss = total!
    const { params, state, norm } = await this.#apply(
      this.#params,
      this.#state,
      sums,
      loss.weight,
      tensor([rate], []),
    )
    this.#params = params
    this.#state = state
    return { loss, norm }
  }

  /** Mean loss over batches `0` to `count - 1`, without learning from them. */
  async measure(
    batches: Batches<Batch>,
    count: number,
  ): Promise<{ readonly loss: number; readonly weight: number; readonly metrics: Record<string, number> }> {
    let total: Loss | undefined
    for (let i = 0; i < count; i++) {
      const found = await this.#measure(
        this.#params,
        this.options.model.frozen,
        await batches.at(i),
        this.#key(-1 - i),
        this.#memory,
      )
      total = total ? added(total, found) : found
    }
    if (!total) throw new RangeError('there is nothing to measure')
    const weight = total.weight.item()
    return { loss: total.sum.item() / weight, weight, metrics: averages(total, weight) }
  }

  /** Programs compiled so far: one for all steps and one for all measurements, whatever the sizes of batches. */
  get compilations(): number {
    return [this.#whole, this.#add, this.#apply, this.#measure].reduce((n, p) => n + p.compilations, 0)
  }

  dispose(): void {
    for (const program of [this.#whole, this.#add, this.#apply, this.#measure]) program.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** A tensor with the same contents in memory of its own. */
const copied = (leaf: Tensor): Tensor => tensor(leaf.data.slice(), leaf.sizes, leaf.dtype)

/** Two losses of host values as one. */
function added(a: Loss, b: Loss): Loss {
  const sum = (x: Tensor, y: Tensor): Tensor => scalar(x.item() + y.item(), 'f32')
  const names = Object.keys(a.metrics ?? {})
  return {
    sum: sum(a.sum, b.sum),
    weight: sum(a.weight, b.weight),
    metrics: Object.fromEntries(names.map((name) => [name, sum(a.metrics![name]!, b.metrics![name]!)])),
  }
}

const averages = ({ metrics = {} }: Loss, weight: number): Record<string, number> =>
  Object.fromEntries(Object.entries(metrics).map(([name, sum]) => [name, sum.item() / weight]))

/** `tree` with the leaves of another that has the same paths, shapes and dtypes. */
function fitted<T>(tree: T, saved: unknown, what: string): T {
  const found = new Map(leaves(saved))
  const fittedTree = mapTree(tree, (leaf, path) => {
    const value = found.get(path)
    if (!value) throw new Error(`the saved state has no '${what}.${path}': it is of another run`)
    if (`${value}` !== `${leaf}`)
      throw new Error(`the saved '${what}.${path}' is ${value}, not ${leaf}: it is of another run`)
    found.delete(path)
    return value
  }) as T
  const [extra] = found.keys()
  if (extra !== undefined) throw new Error(`the saved state has '${what}.${extra}' too: it is of another run`)
  return fittedTree
}
