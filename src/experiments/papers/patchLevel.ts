/** Patch-level training (paper 63): two thirds of the data in patches of four tokens, the rest token by token. */
import type { DecoderSpec } from '../../model/spec.ts'
import { nextToken, PackedBatches, patchLevel } from '../../train/index.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { type Corpus, once, smallConfig, stories, storyFiles, trainSmall } from '../small.ts'

const patch = 4
const length = 128
const batch = 16
/** Of token training on all data. */
const steps = 240
const patchSteps = (steps * 2) / 3

/**
 * Floating-point operations of a training step: two for each weight of a matrix and position, scores and mixing of all
 * pairs of positions, and twice as much again backward.
 */
function flopsOf(spec: DecoderSpec, rows: number, positions: number): number {
  const { width, layers, vocab, attention, ffn } = spec
  if (!attention || !ffn)
    throw new Error('patch-level: counts the operations of attention and a feed-forward part')
  const inner = attention.heads * attention.headSize
  const keys = attention.keyValueHeads * attention.headSize
  const block = width * (2 * inner + 2 * keys) + 3 * width * ffn.hidden
  return 3 * rows * positions * (2 * (layers * block + vocab * width) + 4 * layers * positions * inner)
}

async function measure(
  context: ExperimentContext,
  corpus: Corpus,
  seed: number,
  arm: string,
): Promise<Metrics> {
  const tokens = steps * batch * length
  const border = Math.floor((tokens * 2) / 3)
  const all = { ...corpus, learned: corpus.learned.subarray(0, tokens + length) }
  const config = smallConfig(corpus.tokenizer.vocabSize, {
    hidden_size: 64,
    intermediate_size: 172,
    num_hidden_layers: 3,
  })
  if (arm !== 'patches') {
    const taken = arm === 'tokens' ? steps : steps / 2
    const { spec, heldOutLoss, cpuSeconds } = await trainSmall(context, {
      corpus: all,
      seed,
      steps: taken,
      config,
      batch,
      length,
    })
    return {
      loss: heldOutLoss,
      GFLOP: (taken * flopsOf(spec, batch, length)) / 1e9,
      'CPU seconds': cpuSeconds,
    }
  }
  // As many tokens a step: rows of as many patches as there were tokens, and fewer of them.
  const first = await trainSmall(context, {
    corpus: all,
    seed,
    steps: patchSteps,
    config,
    objective: (spec) => patchLevel(spec, { patch }),
    batches: new PackedBatches({
      sources: [{ tokens: all.learned.subarray(0, border) }],
      batch: batch / patch,
      length: length * patch,
      seed,
    }),
  })
  const second = await trainSmall(context, {
    corpus: { ...all, learned: all.learned.subarray(border) },
    seed,
    steps: steps - patchSteps,
    config,
    params: first.params,
    objective: (spec) => nextToken(spec),
    batch,
    length,
  })
  return {
    loss: second.heldOutLoss,
    GFLOP:
      (patchSteps * flopsOf(first.spec, batch / patch, length - 1) +
        (steps - patchSteps) * flopsOf(second.spec, batch, length)) /
      1e9,
    'CPU seconds': first.cpuSeconds + second.cpuSeconds,
  }
}

export default experiment({
  id: 'patch-level',
  paper: 63,
  title: 'Patch-level training: the same data at half the cost',
  claim:
    'Training on patches of 4 tokens for two thirds of the data and on tokens for the rest gives no higher loss than training on tokens, at half the cost.',
  setting: `From scratch on ${((steps * batch * length) / 1e6).toFixed(2)}M tokens, each seen once: ${steps} steps of ${batch} rows of ${length} tokens, or ${patchSteps} steps of ${batch / patch} rows of ${length} patches of ${patch} tokens and then ${steps - patchSteps} steps on tokens. Each run has its own warm-up and decay, as in the authors' code, and its optimizer begins anew. 'tokens, half' has the first arm's steps cut to the cost of patches. Operations are counted, processor time is measured on a busy machine. The paper trains 370M parameters and more on up to 360B tokens. All arms together take about 2.5 minutes on one core.`,
  model: 'Llama, 3 layers of width 64, 0.2M parameters',
  data: 'TinyStories (tokenizer of 1024)',
  baseline: 'tokens',
  metrics: {
    loss: { better: 'lower', unit: 'nats a token' },
    GFLOP: { better: 'lower' },
    'CPU seconds': { better: 'lower', unit: 's' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const open = once(() => stories(context, undefined, [storyFiles[0]], 3000))
    for (const seed of context.seeds)
      for (const arm of ['tokens', 'patches', 'tokens, half'])
        await context.arm(arm, seed, async () => measure(context, await open(), seed, arm))
  },
  judge(rows) {
    const lost = rows.difference('patches', 'tokens', 'loss')
    const won = rows.difference('patches', 'tokens, half', 'loss')
    const ratio = (metric: string): number => rows.mean('patches', metric) / rows.mean('tokens', metric)
    const cheap = ratio('GFLOP') < 0.6
    const same = lost.mean + lost.half < 0.03
    const useful = won.mean < 0 && -won.mean > won.half
    const signed = ({ mean, half }: typeof lost): string =>
      `${mean >= 0 ? '+' : ''}${mean.toFixed(3)} ± ${half.toFixed(3)}`
    return {
      verdict: cheap && same ? 'reproduced' : cheap && useful ? 'partly' : 'not at this scale',
      reason: `At ${(100 * ratio('GFLOP')).toFixed(0)} % of the operations and ${(100 * ratio('CPU seconds')).toFixed(0)} % of the processor time of token training, loss is ${signed(lost)} nats a token on the same data, and ${signed(won)} against token training of the same cost (95 % intervals of ${rows.at('tokens', 'loss').n} seeds). Asked for: at most 60 % of the operations and less than 0.03 nats lost, interval included; 'partly' is more than that lost, but better than token training of the same cost beyond the interval.`,
    }
  },
})
