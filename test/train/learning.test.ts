/** Objectives do what they are for: a few steps on GPT-2 and Llama, and policies that come to be rewarded. */
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, mapTree, random, type Tensor, tensor } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { describeConfig } from '../../src/experiments/small.ts'
import { type DecoderParams, type DecoderSpec, Model, Seq2Seq } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import {
  adamw,
  answerRows,
  type Batches,
  initialize,
  newHead,
  type Objective,
  objectiveOptions,
  objectives,
  paddedRows,
  policyRun,
  referenced,
  rewardByModel,
  rewardByRule,
  type Sampler,
  spanBatches,
  spanCorruption,
  type Trainable,
  Trainer,
  type TrainingState,
  taught,
  wholly,
} from '../../src/train/index.ts'
import { maskedDecoder } from '../../src/train/objectives/masked.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const llamaConfig = {
  model_type: 'llama',
  vocab_size: 20,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
}
const gpt2Config = {
  model_type: 'gpt2',
  vocab_size: 20,
  n_embd: 32,
  n_head: 2,
  n_layer: 2,
  n_positions: 32,
  activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5,
}
const families = { llama: llamaConfig, gpt2: gpt2Config } as const
const made = (config: Readonly<Record<string, unknown>>, seed = 1) => {
  const { spec } = describeConfig(config)
  return { spec, params: initialize(spec, { seed, deviation: 0.1 }) }
}

/** Batch `index` from random numbers of its own. */
const drawn = <Batch>(make: (uniform: (below: number) => number) => Batch): Batches<Batch> => ({
  at: (index) => {
    const uniform = random.generator(random.fold(11, index))
    return make((below) => Math.floor(uniform() * below))
  },
})
const rowsOf = (count: number, make: (i: number) => number[]): number[][] =>
  Array.from({ length: count }, (_, i) => make(i))
const integers = (numbers: readonly number[], shape: readonly number[]): Tensor =>
  tensor(Int32Array.from(numbers), shape)

/** Losses of some steps, and the metrics of the last. */
async function learn<P, F, M, B>(
  model: Trainable<P, F, M>,
  objective: Objective<M, B>,
  batches: Batches<B>,
  steps: number,
  rate = 0.01,
) {
  using trainer = new Trainer({ engine, model, objective, batches, optimizer: adamw(), rate: () => rate })
  const losses: number[] = []
  let metrics: Readonly<Record<string, number>> = {}
  for (let i = 0; i < steps; i++) {
    const report = await trainer.next()
    losses.push(report.loss)
    metrics = report.metrics
  }
  expect(trainer.compilations).toBe(1)
  return { first: losses[0]!, last: losses.at(-1)!, metrics }
}

/** Whether the row holds a token above 15: nothing to guess, something to find. */
const labelled = drawn((below) => {
  const labels: number[] = []
  const rows = rowsOf(16, () => {
    const row = rowsOf(3 + below(5), () => [below(15)]).flat()
    labels.push(below(2))
    if (labels.at(-1) === 1) row[below(row.length)] = 16 + below(4)
    return row
  })
  return { ...paddedRows(rows), labels: integers(labels, [16]) }
})
/** Chosen answers consist of even tokens, rejected ones of odd ones. */
const pairs = (make: typeof answerRows) =>
  drawn((below) => {
    const prompts = rowsOf(8, () => [1 + below(18), 1 + below(18)])
    const side = (odd: number) =>
      make(
        prompts.map((prompt) => ({
          prompt,
          answer: rowsOf(2 + below(3), () => [2 * below(10) + odd]).flat(),
        })),
        { length: 6 },
      )
    return { chosen: side(0), rejected: side(1) }
  })
const preferences = pairs(answerRows)
/** The same with masks of whole rows. */
const whole = pairs((rows, options) =>
  paddedRows(
    rows.map(({ prompt, answer }) => [...prompt, ...answer]),
    options,
  ),
)

describe.each(Object.entries(families))('%s', (_, config) => {
  const optionsOf = objectiveOptions

  it('sorts rows by what is in them, with and without a causal mask', async () => {
    for (const options of [{}, { sees: 'all', pooling: 'mean' }] as const) {
      const { spec, params } = made(config)
      const objective = objectives.classification.make(spec, optionsOf('classification', options))
      const model = wholly({ decoder: params, head: newHead(2, spec.width, 3) })
      const { first, last, metrics } = await learn(model, objective, labelled, 120)
      expect(first).toBeCloseTo(Math.log(2), 0)
      expect(last).toBeLessThan(0.2)
      expect(metrics.accuracy).toBeGreaterThan(0.9)
    }
  })

  it('tags a token by the one behind it only if it sees that', async () => {
    // The label is whether the next token is above 9: chance without it.
    const batches = drawn((below) => {
      const tokens = rowsOf(16, () => rowsOf(8, () => [below(20)]).flat())
      const labels = tokens.flatMap((row) => row.map((_, t) => (t === 7 ? -100 : Number(row[t + 1]! > 9))))
      return { tokens: integers(tokens.flat(), [16, 8]), labels: integers(labels, [16, 8]) }
    })
    const accuracy = async (sees: 'past' | 'all') => {
      const { spec, params } = made(config)
      const objective = objectives.classification.make(
        spec,
        optionsOf('classification', { level: 'token', sees }),
      )
      const model = wholly({ decoder: params, head: newHead(2, spec.width, 3) })
      return (await learn(model, objective, batches, 80)).metrics.accuracy!
    }
    expect(await accuracy('all')).toBeGreaterThan(0.9)
    expect(await accuracy('past')).toBeLessThan(0.7)
  })

  it('brings texts together that belong together', async () => {
    // A positive has the anchor's tokens in another order.
    const batches = drawn((below) => {
      const anchors = rowsOf(8, () => rowsOf(4, () => [below(20)]).flat())
      return {
        anchors: paddedRows(anchors),
        positives: paddedRows(anchors.map((row) => row.toReversed())),
        negatives: paddedRows(anchors.map((row) => row.map((token) => (token + 7) % 20))),
      }
    })
    const { spec, params } = made(config)
    const objective = objectives.contrastive.make(spec, optionsOf('contrastive', { temperature: 0.1 }))
    const { first, last, metrics } = await learn(wholly(params), objective, batches, 40)
    expect(last).toBeLessThan(first / 2)
    expect(metrics.accuracy).toBeGreaterThan(0.8)
  })

  it('predicts what is hidden from both sides', async () => {
    // Every token is the one before plus 1: two neighbours tell it.
    const batches = drawn((below) => {
      const rows = rowsOf(16, () => {
        const from = below(15)
        return rowsOf(8, (t) => [2 + ((from + t) % 18)]).flat()
      })
      return { tokens: integers(rows.flat(), [16, 8]) }
    })
    const { spec, params } = made(config)
    const objective = objectives.masked.make.objective(
      maskedDecoder(spec),
      optionsOf('masked', { maskToken: 1, share: 0.2 }),
    )
    const { first, last } = await learn(wholly(params), objective, batches, 160)
    // 18 tokens, and the neighbours leave one of them.
    expect(first).toBeGreaterThan(2)
    expect(last).toBeLessThan(first / 2)
  })

  it.each(['dpo', 'ipo', 'orpo', 'simpo', 'reward-model'] as const)('%s comes to prefer', async (kind) => {
    const { spec, params } = made(config)
    const frozen = made(config).params
    const run = () => {
      if (kind === 'orpo' || kind === 'simpo')
        return learn(
          wholly(params),
          objectives[kind].make(spec, optionsOf(kind, kind === 'orpo' ? { lambda: 1 } : {}) as never),
          preferences,
          20,
        )
      if (kind === 'reward-model')
        return learn(
          wholly({ decoder: params, head: newHead(1, spec.width, 3) }),
          objectives[kind].make(spec),
          whole,
          20,
        )
      // A square: with the other rate it shoots past its margin.
      const rate = kind === 'ipo' ? 0.002 : 0.01
      const options = optionsOf('dpo', { loss: kind === 'ipo' ? 'ipo' : 'sigmoid', beta: 0.2 })
      return learn(referenced(params, frozen), objectives.dpo.make(spec, options), preferences, 20, rate)
    }
    const { first, last, metrics } = await run()
    // Before the first step policy and reference are one.
    if (kind === 'dpo') expect(first).toBeCloseTo(Math.log(2), 5)
    if (kind === 'ipo') expect(first).toBeCloseTo(1 / 0.4 ** 2, 4)
    expect(last).toBeLessThan(first * 0.7)
    // At least seven of eight pairs.
    expect(metrics.rewardAccuracy).toBeGreaterThan(0.8)
    expect(metrics.rewardMargin).toBeGreaterThan(0.1)
  })

  it('learns from a teacher of another width, logits and hidden states', async () => {
    const { spec, params } = made(config)
    const teacher = made({ ...llamaConfig, hidden_size: 48 }, 5)
    const batches = drawn((below) => ({ tokens: integers(rowsOf(128, () => [below(20)]).flat(), [16, 8]) }))
    const options = optionsOf('distillation', {
      hard: 0,
      temperature: 2,
      hidden: { layers: [[1, 1]], distance: 'cosine' },
    })
    const projections = [newHead(teacher.spec.width, spec.width, 7)]
    const { first, last, metrics } = await learn(
      taught({ student: params, projections }, teacher.params),
      objectives.distillation.make(spec, teacher.spec, options),
      batches,
      60,
    )
    expect(last).toBeLessThan(first / 2)
    expect(metrics.hiddenLoss).toBeLessThan(0.5)
    // The text is noise: nothing but the teacher was learned.
    expect(metrics.hardLoss).toBeGreaterThan(Math.log(20) - 0.2)
  })
})

describe('span corruption on T5', () => {
  const model = Seq2Seq.open(fixture('families/t5'), engine)

  it('learns to say what is missing from a sequence that repeats', async () => {
    const windows = drawn((below) => {
      const rows = rowsOf(16, () => {
        const token = 10 + below(20)
        return new Array<number>(12).fill(token)
      })
      return { tokens: integers(rows.flat(), [16, 12]) }
    })
    const options = objectiveOptions('span-corruption', { sentinels: [60, 61, 62], end: 1 })
    const { first, last } = await learn(
      wholly(model.params),
      spanCorruption(model.spec),
      spanBatches(windows, options),
      120,
    )
    expect(last).toBeLessThan(first / 3)
  })
})

// --------------------------------------------------------------------------------------------------- from rewards

const end = 0
const copied = <T>(tree: T): T =>
  mapTree(tree, (leaf) => tensor(leaf.data.slice(), leaf.sizes, leaf.dtype)) as T

/** Answers of at most six tokens, as `complete` draws them; their text is their tokens. */
const sampler =
  (spec: DecoderSpec): Sampler =>
  async (policy, prompts, { samples, seed }) => {
    using model = new Model({ engine, spec, params: policy })
    const found = await complete(model, prompts, {
      samples,
      seed,
      temperature: 1,
      maxTokens: 6,
      stopTokens: [end],
    })
    return found.map(({ tokens, finish }) => ({
      answer: finish === 'stop' ? [...tokens, end] : tokens,
      text: tokens.join(' '),
    }))
  }

/** The share of tokens below 5: a quarter of them by chance. */
const small = rewardByRule((text) => {
  const tokens = text === '' ? [] : text.split(' ').map(Number)
  return tokens.length === 0 ? 0 : tokens.filter((token) => token < 5).length / tokens.length
})

describe.each(Object.entries(families))('rewards on %s', (_, config) => {
  const begun = (kind: 'grpo' | 'ppo', options: object) => {
    const { spec, params } = made(config)
    const algorithm = objectives[kind].make(spec, objectiveOptions(kind, options) as never)
    return {
      spec,
      ...{ engine, algorithm, reference: made(config).params, optimizer: adamw(), rate: () => 0.01, clip: 1 },
      model: wholly({
        policy: params,
        ...(kind === 'ppo' && { value: newHead(1, spec.width, 9) }),
      }),
      prompts: () => [
        [3, 7],
        [11, 5],
        [8, 8],
        [14, 2],
      ],
      ...{ sample: sampler(spec), reward: small, samples: 8, seed: 4 },
    }
  }

  it.each([
    ['grpo', {}],
    ['grpo', { scaled: false, average: 'length', length: 6, penalty: 0 }],
    ['ppo', { entropyWeight: 0.01 }],
  ] as const)('%s %j is rewarded more after 20 steps', async (kind, options) => {
    const { reports } = await policyRun({ ...begun(kind, options), rounds: 20 })
    const mean = (list: typeof reports) => list.reduce((sum, { reward }) => sum + reward, 0) / list.length
    const [before, after] = [mean(reports.slice(0, 2)), mean(reports.slice(-2))]
    expect(reports).toHaveLength(20)
    expect(before).toBeLessThan(0.4)
    expect(after).toBeGreaterThan(before + 0.3)
  })

  it('goes on from a round as if it had not stopped', async () => {
    const bits = ({ policy }: { policy: DecoderParams }) => leaves(policy).map(([, leaf]) => [...leaf.data])
    const once = { epochs: 2, batch: 16 }
    const straight = await policyRun({ ...begun('ppo', {}), ...once, rounds: 4 })
    let saved: TrainingState | undefined
    await policyRun({
      ...begun('ppo', {}),
      ...once,
      rounds: 2,
      onRound: (_, state) => {
        saved = { step: state.step, params: copied(state.params), optimizer: copied(state.optimizer) }
      },
    })
    const resumed = await policyRun({ ...begun('ppo', {}), ...once, rounds: 4, from: saved! })
    expect(saved!.step).toBe(8)
    expect(resumed.reports).toEqual(straight.reports.slice(2))
    expect(bits(resumed.parts)).toEqual(bits(straight.parts))
    const inside = { ...saved!, step: 7 }
    await expect(policyRun({ ...begun('ppo', {}), ...once, rounds: 4, from: inside })).rejects.toThrow(
      /inside a round of 4 steps/,
    )
  })

  it('refuses rewards that are no numbers, a penalty without a reference, texts that are not there', async () => {
    const run = begun('grpo', {})
    await expect(
      policyRun({ ...run, rounds: 1, reward: (all) => all.map(() => Number.NaN) }),
    ).rejects.toThrow(/reward of answer 0 is NaN/)
    await expect(policyRun({ ...run, rounds: 1, reference: undefined })).rejects.toThrow(/needs a reference/)
    await expect(
      policyRun({ ...run, rounds: 1, sample: async () => run.prompts().map(() => ({ answer: [1] })) }),
    ).rejects.toThrow(/4 prompts and 4 answers, not 4 and 32/)
    expect(() => small([{ prompt: [1], answer: [2] }])).toThrow(/a sampler that gives them/)
  })
})

it('a reward model gives the rewards that it was trained for', async () => {
  const { spec, params } = made(llamaConfig)
  const model = { decoder: params, head: newHead(1, spec.width, 3) }
  using trainer = new Trainer({
    engine,
    model: wholly(model),
    objective: objectives['reward-model'].make(spec),
    batches: whole,
    optimizer: adamw(),
    rate: () => 0.01,
  })
  for (let i = 0; i < 20; i++) await trainer.next()
  const reward = rewardByModel(engine, spec, trainer.parts)
  const rows = [
    { prompt: [3, 7], answer: [2, 4, 6, 8] },
    { prompt: [3, 7], answer: [1, 3, 5, 7] },
  ]
  const [even, odd] = await reward(rows)
  expect(even! - odd!).toBeGreaterThan(0.5)
  // Padding changes nothing.
  const [alone] = await reward([{ prompt: [3], answer: [2, 4] }])
  const [, beside] = await reward([rows[0]!, { prompt: [3], answer: [2, 4] }])
  expect(beside).toBeCloseTo(alone!, 4)
})
