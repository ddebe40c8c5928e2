/** What a training step costs: to run, and to trace and compile. */
import { scalar, type Tensor, tensor, trace } from '../../array/index.ts'
import type { DecoderParams, DecoderSpec } from '../../model/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { type AdamWState, adamw, initialize, makeStep, trainingStep } from '../../train/index.ts'

/** Pre-norm GPT with learned positions and a tied head. */
const gpt = (layers: number, width: number, heads: number, vocab: number, context: number): DecoderSpec => ({
  vocab,
  width,
  layers,
  context,
  norm: { kind: 'layer', epsilon: 1e-5 },
  position: { kind: 'learned' },
  attention: { heads, keyValueHeads: heads, headSize: width / heads },
  ffn: { kind: 'plain', hidden: 4 * width, activation: 'gelu-tanh' },
  layout: 'in-out',
})

export interface TrainingShape {
  readonly layers: number
  readonly width: number
  readonly heads: number
  readonly vocab: number
  readonly context: number
  readonly batch: number
}

/** GPTs by their size in parameters; 30M has 25M in the blocks and 5M in the embedding. */
export const trainingShapes = {
  '5M': { layers: 6, width: 256, heads: 4, vocab: 4096, context: 256, batch: 8 },
  '30M': { layers: 8, width: 512, heads: 8, vocab: 10000, context: 256, batch: 4 },
  '125M': { layers: 12, width: 768, heads: 12, vocab: 50257, context: 256, batch: 2 },
} as const satisfies Record<string, TrainingShape>
export const tinyShape: TrainingShape = { layers: 2, width: 64, heads: 4, vocab: 512, context: 32, batch: 2 }

const randomTokens = (batch: number, time: number, vocab: number): Tensor =>
  tensor(
    Int32Array.from({ length: batch * time }, (_, i) => (i * 7919 + 13) % vocab),
    [batch, time],
  )

export interface TrainingRun {
  readonly config: TrainingShape
  readonly parameters: number
  /** Of one step: 6 per weight of the matrices and token, and attention. */
  readonly flops: number
  /** Milliseconds of one step. */
  readonly step: () => Promise<number>
  dispose(): void
}

export async function trainingRun(
  engine: Engine,
  config: TrainingShape = trainingShapes['30M'],
): Promise<TrainingRun> {
  const { layers, width, heads, vocab, context, batch } = config
  const spec = gpt(layers, width, heads, vocab, context)
  const optimizer = adamw({ weightDecay: 0.01, decays: 'all' })
  const program = trainingStep(engine, spec, optimizer)
  let params: DecoderParams = initialize(spec, { seed: 1 })
  let state: AdamWState = optimizer.init(params)
  // One more than the context: the last token of a row is only a target.
  const tokens = randomTokens(batch, context + 1, vocab)
  const rate = tensor([1e-4], [])
  const matrices = layers * 12 * width ** 2 + vocab * width
  return {
    config,
    parameters: matrices + context * width + layers * 13 * width + 2 * width,
    flops: 6 * matrices * batch * context + 12 * layers * context * width * batch * context,
    async step() {
      const start = performance.now()
      const result = await program(params, state, tokens, rate)
      if (!Number.isFinite(result.loss.item())) throw new Error('the loss is not a number')
      ;({ params, state } = result)
      return performance.now() - start
    },
    dispose: () => program.dispose(),
  }
}

/** Tracing (with differentiation) and compiling a training step of 12 layers of GPT-2's shape. */
export async function compileTraining(engine: Engine): Promise<{ traceMs: number; compileMs: number }> {
  // Narrow: the work of tracing and compiling does not depend on the width.
  const spec = gpt(12, 96, 12, 512, 64)
  const optimizer = adamw({ weightDecay: 0.01, decays: 'all' })
  const params = initialize(spec)
  const state = optimizer.init(params)
  const start = performance.now()
  const { graph } = trace(
    makeStep(spec, optimizer),
    [params, state, randomTokens(2, 64, 512), scalar(1e-4)] as const,
    { axes: [undefined, undefined, ['batch', 'time']] },
  )
  const traced = performance.now()
  const program = await engine.compile(graph, 'step')
  const compileMs = performance.now() - traced
  program.dispose()
  return { traceMs: traced - start, compileMs }
}
