/** What a browser does with the starter model, and Node to compare. */
import {
  adamw,
  complete,
  type Engine,
  leaves,
  Model,
  type ModelParts,
  tensor,
  trainingStep,
} from '../../src/web.ts'

export interface Outcome {
  readonly provider: string
  readonly tokens: readonly number[]
  readonly text: string
  readonly tap: readonly number[]
  /** Before a step of training. */
  readonly loss?: number
  /** Sums of squares of every parameter after it. */
  readonly squares?: readonly number[]
}

export const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'] as const

export interface ScenarioOptions {
  readonly maxTokens: number
  readonly train: boolean
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
  const outcome = { provider: engine.provider, tokens, text, tap }
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
