/** What a browser does with the starter model, and Node to compare. */
import {
  adamw,
  complete,
  type Engine,
  leaves,
  Model,
  type ModelParts,
  type Tensor,
  tensor,
  trainingStep,
} from '../../src/web.ts'

export interface Outcome {
  readonly provider: string
  readonly tokens: readonly number[]
  readonly text: string
  readonly tap: readonly number[]
  /** Whether the cache was written in place, in each of two steps. */
  readonly inPlace: readonly boolean[]
  /** After both. */
  readonly logits: readonly number[]
  /** Of the last token, under an edit with two strengths, which share a program. */
  readonly steered: readonly number[]
  readonly steeredPrograms: number
  /** Before a step of training. */
  readonly loss?: number
  /** Sums of squares of every parameter after it. */
  readonly squares?: readonly number[]
}

export interface ScenarioOptions {
  readonly maxTokens: number
  readonly train: boolean
}

/** Two steps of generation, each with the cache that the one before has given. */
export async function twoSteps(model: Model): Promise<Pick<Outcome, 'inPlace' | 'logits'>> {
  const { step } = model.programs({})
  const inPlace: boolean[] = []
  let logits: readonly number[] = []
  let cache = model.newCache(1, 64)
  for (const token of [5, 9]) {
    const [tokens, zero] = [tensor(Int32Array.of(token), [1, 1]), tensor(Int32Array.of(0))]
    const lengths = tensor(Int32Array.of(inPlace.length))
    const given = new Map(leaves(cache))
    const result = await step({ tokens, cache, lengths, at: zero })
    inPlace.push(leaves(result.cache).every(([path, leaf]) => leaf === given.get(path)))
    cache = result.cache
    logits = Array.from((await result.logits.load()) as Float32Array)
  }
  return { inPlace, logits }
}

const along = (x: Tensor, { strength }: { strength: Tensor }): Tensor => x.add(x.abs().mul(strength))

/** Logits under two strengths of one edit, and how many programs they took. */
async function steering(model: Model): Promise<Pick<Outcome, 'steered' | 'steeredPrograms'>> {
  const before = model.compilations
  const steered: number[] = []
  for (const strength of [0.5, 2]) {
    const edit = { 'blocks.1.hook_resid_post': { apply: along, args: { strength: tensor([strength], []) } } }
    const { logits } = await model.run([[1, 5, 9, 20]], { read: ['logits'], edit })
    steered.push(...((await logits!.load()) as Float32Array).slice(-model.spec.vocab))
  }
  return { steered, steeredPrograms: model.compilations - before }
}

export async function scenario(
  engine: Engine,
  parts: Omit<ModelParts, 'engine'>,
  { maxTokens, train }: ScenarioOptions,
): Promise<Outcome> {
  const model = new Model({ engine, ...parts })
  const [completion] = await complete(model, ['Once upon a time'], { temperature: 0, maxTokens })
  const { tokens, text } = completion!
  const site = 'blocks.1.hook_resid_post'
  const reads = await model.run([[1, 5, 9, 20]], { read: [site] })
  const tap = Array.from((await reads[site]!.load()) as Float32Array)
  const steps = await twoSteps(model)
  const outcome = { provider: engine.provider, tokens, text, tap, ...steps, ...(await steering(model)) }
  if (!train) return outcome

  const optimizer = adamw({ weightDecay: 0.1 })
  const step = trainingStep(engine, model.spec, optimizer)
  const batch = tensor(
    Int32Array.from({ length: 32 }, (_, i) => (7 * i) % 50),
    [2, 16],
  )
  const trained = await step(model.params, optimizer.init(model.params), batch, tensor([0.01], []))
  const squares: number[] = []
  for (const [, leaf] of leaves(trained.params))
    squares.push(((await leaf.load()) as Float32Array).reduce((sum, x) => sum + x * x, 0))
  await trained.loss.load()
  return { ...outcome, loss: trained.loss.item(), squares }
}
