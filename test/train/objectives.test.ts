/** Every objective against what PyTorch says of it (test/fixtures/objectives.py). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import {
  type Axes,
  leaves,
  mapTree,
  random,
  type Tensor,
  tensor,
  valueAndGrad,
} from '../../src/array/index.ts'
import { describeConfig } from '../../src/experiments/small.ts'
import { type DecoderParams, type DecoderSpec, Encoder, load, Seq2Seq } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { globalNorm, initialize, type Objective, objectives, wholly } from '../../src/train/index.ts'
import { generalizedAdvantages, groupAdvantages } from '../../src/train/objectives/advantages.ts'
import { distillation } from '../../src/train/objectives/distillation.ts'
import { maskedDecoder, maskedEncoder, predictMasked } from '../../src/train/objectives/masked.ts'
import { ppo, ppoSchema } from '../../src/train/objectives/ppo.ts'
import { rowAxes } from '../../src/train/objectives/reading.ts'
import { spanCorruption } from '../../src/train/objectives/spanCorruption.ts'
import { referenced, taught } from '../../src/train/objectives/trainables.ts'
import type { Trainable } from '../../src/train/trainer.ts'
import { allClose, fixture } from '../reference.ts'

type Numbers = readonly number[] | readonly (readonly number[])[]
type Batch = { readonly [key: string]: Numbers | Batch }
interface Case {
  readonly objective: string
  readonly batch: string
  readonly heads: Readonly<Record<string, number>>
  readonly options: Readonly<Record<string, unknown>>
  readonly loss: number
  readonly norm: number
  readonly metrics: Readonly<Record<string, number>>
  readonly grads: Readonly<Record<string, readonly number[]>>
}
interface Golden {
  readonly models: Record<string, { batches: Record<string, Batch>; cases: Case[] }>
  readonly bert: { batch: Batch; loss: number; norm: number; accuracy: number }
  readonly t5: Golden['bert']
  readonly answers: Record<string, number[][]> & {
    penalty: number
    gamma: number
    lambda: number
    rewards: number[]
    centred: number[]
    scaled: number[]
  }
}
const golden = JSON.parse(readFileSync(join(fixture('.'), 'objectives.json'), 'utf8')) as Golden

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

/** base + scale sin(1 + 0.7 i + 13 k) for element i, as the fixture's script has it. */
function wave(shape: readonly number[], k: number, scale = 0.3, base = 0): Tensor {
  const length = shape.reduce((a, b) => a * b, 1)
  return tensor(
    Float32Array.from({ length }, (_, i) => base + scale * Math.sin(1 + 0.7 * i + 13 * k)),
    shape,
  )
}

const integers = new Set(['tokens', 'labels', 'seen', 'targets'])
const tensorsOf = (batch: Batch): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(batch).map(([name, value]) => {
      if (!Array.isArray(value)) return [name, tensorsOf(value as Batch)]
      const rows = value as number[] | number[][]
      const shape = Array.isArray(rows[0]) ? [rows.length, rows[0].length] : [rows.length]
      const flat = rows.flat()
      return [name, tensor(integers.has(name) ? Int32Array.from(flat) : Float32Array.from(flat), shape)]
    }),
  )

interface Subject {
  readonly objective: Objective<unknown, unknown>
  readonly model: Trainable<unknown, unknown, unknown>
}

/** What a case trains, and by what. */
function subject(spec: DecoderSpec, params: DecoderParams, { objective, options, heads }: Case): Subject {
  const head = (name: string, k: number) => ({
    weight: wave([heads[name]!, spec.width], k),
    bias: wave([heads[name]!], k),
  })
  const made = objectives[objective as keyof typeof objectives]
  const read = made.options.parse(options) as never
  switch (objective) {
    case 'masked':
      return {
        model: wholly(params),
        objective: {
          id: objective,
          axes: rowAxes,
          loss: (own: DecoderParams, batch: never) => predictMasked(maskedDecoder(spec), own, batch, batch),
        },
      }
    case 'distillation': {
      const { spec: teacherSpec } = describeConfig({
        ...teacherConfig,
        vocab_size: spec.vocab,
      })
      const shape = initialize(teacherSpec)
      const paths = leaves(shape)
        .map(([path]) => path)
        .sort()
      const teacher = mapTree(shape, (leaf, path) =>
        leaf.rank === 1
          ? wave(leaf.sizes, paths.indexOf(path), 0.2, 1)
          : wave(leaf.sizes, paths.indexOf(path), 0.5),
      ) as DecoderParams
      const projections = Object.keys(heads).map(head)
      return {
        model: taught({ student: params, ...(projections.length > 0 && { projections }) }, teacher),
        objective: distillation(spec, teacherSpec, read),
      }
    }
    case 'dpo': {
      const reference = mapTree(params, (leaf) =>
        tensor(
          (leaf.data as Float32Array).map((x) => x * 0.9),
          leaf.sizes,
        ),
      ) as DecoderParams
      return { model: referenced(params, reference), objective: objectives.dpo.make(spec, read) }
    }
    case 'classification':
    case 'reward-model':
      return {
        model: wholly({ decoder: params, head: head('head', 0) }),
        objective: objectives[objective].make(spec, read),
      }
    case 'ppo':
    case 'grpo':
      return {
        model: wholly({ policy: params, ...(heads.value && { value: head('value', 0) }) }),
        objective: objectives[objective].make(spec, read),
      }
    case 'meap':
    case 'contrastive':
    case 'orpo':
    case 'simpo':
      return { model: wholly(params), objective: objectives[objective].make(spec, read) }
  }
  throw new Error(`no subject for ${objective}`)
}

const teacherConfig = {
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
}

/** Loss, metrics per weight, gradient and its norm. */
async function evaluate({ objective, model }: Subject, batch: unknown) {
  using program = engine.jit(
    (params: unknown, frozen: unknown, given: unknown, key: Tensor) => {
      const [[value, found], grads] = valueAndGrad((own: unknown) => {
        const loss = objective.loss(model.assemble(own, frozen), given, key)
        return [loss.sum.div(loss.weight), loss] as const
      })(params)
      const metrics = mapTree(found.metrics ?? {}, (sum) => sum.div(found.weight)) as Record<string, Tensor>
      return { value, grads, metrics, norm: globalNorm(grads) }
    },
    { axes: [undefined, undefined, objective.axes as Axes] },
  )
  return program(model.params, model.frozen, batch, random.key(1))
}

/** A gradient by its path in what is trained, or by its path in the model that is a part of that. */
function gradientOf(grads: unknown, name: string): Tensor {
  const all = leaves(grads)
  const found =
    all.find(([path]) => path === name) ??
    all.find(([path]) => /^\w+\./.test(path) && path.endsWith(`.${name}`))
  if (!found) throw new Error(`there is no gradient '${name}'`)
  return found[1]
}

describe.each(Object.entries(golden.models))('%s', (name, { batches, cases }) => {
  const { spec, params } = load(fixture(name))
  it.each(cases.map((one, i) => [`${i} ${one.objective} ${JSON.stringify(one.options)}`, one] as const))(
    '%s',
    async (_, one) => {
      const { value, grads, metrics, norm } = await evaluate(
        subject(spec, params, one),
        tensorsOf(batches[one.batch]!),
      )
      // Sums of terms around 1, which may cancel: below 0.1 it is the difference that counts.
      const relative = (a: number, b: number) => Math.abs(a - b) / Math.max(0.1, Math.abs(b))
      // Seen: 2.3e-6 at most; PyTorch in f32 is as far away from f64.
      expect(relative(value.item(), one.loss)).toBeLessThan(6e-6)
      expect(relative(norm.item(), one.norm)).toBeLessThan(6e-6)
      for (const [metric, expected] of Object.entries(one.metrics))
        expect(relative(metrics[metric]!.item(), expected), metric).toBeLessThan(2e-5)
      for (const [path, expected] of Object.entries(one.grads))
        allClose((gradientOf(grads, path).data as Float32Array).slice(0, expected.length), expected, {
          name: path,
          rtol: 1e-4,
          atol: 2e-6 * one.norm,
        })
    },
  )
})

it('an encoder predicts masked tokens as BERT does', async () => {
  const { spec, params } = Encoder.open(fixture('families/bert'), engine)
  const model = maskedEncoder(spec)
  const objective: Objective<unknown, unknown> = {
    id: 'masked',
    axes: rowAxes,
    loss: (own: typeof params, batch: never) => predictMasked(model, own, batch, batch),
  }
  const trained = { ...params, pooler: undefined }
  const found = await evaluate({ objective, model: wholly(trained) }, tensorsOf(golden.bert.batch))
  expect(found.value.item()).toBeCloseTo(golden.bert.loss, 5)
  expect(found.norm.item() / golden.bert.norm).toBeCloseTo(1, 5)
  expect(found.metrics.accuracy!.item()).toBeCloseTo(golden.bert.accuracy, 6)
})

it('an encoder-decoder says what is missing as T5 does', async () => {
  const { spec, params } = Seq2Seq.open(fixture('families/t5'), engine)
  const found = await evaluate(
    { objective: spanCorruption(spec) as Objective<unknown, unknown>, model: wholly(params) },
    tensorsOf(golden.t5.batch),
  )
  expect(found.value.item()).toBeCloseTo(golden.t5.loss, 5)
  expect(found.norm.item() / golden.t5.norm).toBeCloseTo(1, 5)
  expect(found.metrics.accuracy!.item()).toBeCloseTo(golden.t5.accuracy, 6)
})

describe('advantages', () => {
  const { answers } = golden
  const { penalty, gamma, lambda, rewards } = answers
  const close = (actual: readonly number[], expected: readonly number[]) =>
    allClose(actual, expected, { rtol: 1e-9, atol: 1e-12 })

  it('are the sums of what they estimate', () => {
    answers.values!.forEach((values, i) => {
      const found = generalizedAdvantages(
        values.map(
          (_, t) =>
            -penalty * (answers.logprobs![i]![t]! - answers.reference![i]![t]!) +
            (t === values.length - 1 ? rewards[i]! : 0),
        ),
        values,
        { gamma, lambda },
      )
      close(found.advantages, answers.advantages![i]!)
      close(found.returns, answers.returns![i]!)
    })
  })

  it('of PPO have the penalty in their rewards, and are normalised over all tokens', () => {
    const { spec } = load(fixture('llama-tiny'))
    const rows = rewards.map((reward, i) => ({
      group: i,
      reward,
      logprobs: answers.logprobs![i]!,
      reference: answers.reference![i]!,
      values: answers.values![i]!,
    }))
    const estimate = (normalize: boolean) =>
      ppo(spec, ppoSchema.parse({ penalty, gamma, lambda, normalize })).estimate(rows)
    estimate(false).forEach(({ advantages }, i) => {
      close(advantages, answers.advantages![i]!)
    })
    estimate(true).forEach(({ advantages, returns }, i) => {
      close(advantages, answers.normalized![i]!)
      close(returns!, answers.returns![i]!)
    })
  })

  it('of a group are against its mean', () => {
    const rows = rewards.map((reward, i) => ({ reward, group: Math.floor(i / 2) }))
    close(groupAdvantages(rows, true), answers.scaled)
    close(groupAdvantages(rows, false), answers.centred)
    expect(
      groupAdvantages(
        [1, 1, 1].map((reward) => ({ reward, group: 0 })),
        true,
      ),
    ).toEqual([0, 0, 0])
    expect(() => groupAdvantages([{ reward: 1, group: 3 }], true)).toThrow(/group 3 has one answer/)
  })
})
