/**
 * Learning from rewards: the policy answers prompts, the answers are rewarded, and some steps are taken on them;
 * again and again.
 *
 * How answers are drawn is the caller's function, as generation is another layer. Everything else is a function of
 * the seed and the round's number: a run that goes on from the state after a round ends as one that was not stopped,
 * if the sampler is one, too.
 */
import { random, type Tensor, tensor } from '../array/index.ts'
import type { DecoderParams } from '../model/spec.ts'
import { shuffled } from './data/random.ts'
import {
  type PolicyAlgorithm,
  type PolicyBatch,
  type PolicyParts,
  readPolicy,
  type ScoredAnswer,
} from './objectives/policy.ts'
import { rowAxes, tokenLogProbabilities } from './objectives/reading.ts'
import { type Answered, answerRows } from './objectives/rows.ts'
import { type StepReport, Trainer, type TrainerOptions, type TrainingState } from './trainer.ts'

export interface Answer {
  /** Its tokens, the one that ended it included: the policy has to learn when to stop. */
  readonly answer: readonly number[]
  /** What a rule reads. */
  readonly text?: string
}

/**
 * Draws `samples` answers to each prompt from the policy as it is, at temperature 1 and without rules that cut
 * probabilities: what was drawn is weighed by the policy's own. Answers of one prompt follow each other. The
 * parameters must not be used afterwards.
 */
export type Sampler = (
  policy: DecoderParams,
  prompts: readonly (readonly number[])[],
  options: { readonly samples: number; readonly seed: number },
) => Promise<readonly Answer[]>

/** A number for each answer: a rule, or a model (`rewardByModel`). */
export type Reward = (
  answers: readonly (Answered & Answer)[],
) => readonly number[] | Promise<readonly number[]>

/** A reward from the answers' texts alone. */
export const rewardByRule =
  (judge: (text: string) => number): Reward =>
  (all) =>
    all.map(({ text }) => {
      if (text === undefined) throw new Error('a rule over texts needs a sampler that gives them')
      return judge(text)
    })

export interface RoundReport {
  /** Rounds done, this one included. */
  readonly round: number
  /** Mean over the answers, before this round's steps. */
  readonly reward: number
  /** Mean tokens of an answer. */
  readonly length: number
  /** Of the round's last step. */
  readonly step: StepReport
}

export interface PolicyRunOptions<Params, Frozen, State>
  extends Pick<
    TrainerOptions<Params, Frozen, PolicyParts, PolicyBatch, State>,
    'engine' | 'model' | 'optimizer' | 'rate' | 'clip'
  > {
  /** `ppo(spec, ...)` or `grpo(spec, ...)`. */
  readonly algorithm: PolicyAlgorithm
  /** What a penalty keeps the policy near to. */
  readonly reference?: DecoderParams | undefined
  /** The prompts of a round, the same number in each. */
  readonly prompts: (round: number) => readonly (readonly number[])[]
  readonly sample: Sampler
  readonly reward: Reward
  readonly rounds: number
  /** Answers to each prompt. */
  readonly samples: number
  /** How often the answers of a round are learned from; 1 by default. */
  readonly epochs?: number
  /** Answers of a step; all of the round by default. */
  readonly batch?: number
  readonly seed: number
  /** The state after a round of the same run, to go on from. */
  readonly from?: TrainingState
  /** The state's memory is taken by the next round. */
  readonly onRound?: (report: RoundReport, state: TrainingState) => void | Promise<void>
  readonly signal?: AbortSignal
}

/** Runs to the last round. Gives the reports of the rounds it did, and the parts as they are then. */
export async function policyRun<Params, Frozen, State>(
  options: PolicyRunOptions<Params, Frozen, State>,
): Promise<{ readonly reports: readonly RoundReport[]; readonly parts: PolicyParts }> {
  const { engine, algorithm, reference, prompts, rounds, samples, epochs = 1, seed, from, signal } = options
  const { reader, needs } = algorithm
  if (needs.reference && !reference) throw new Error(`${algorithm.id}: a penalty needs a reference`)
  const rows = prompts(0).length * samples
  const batch = options.batch ?? rows
  const stepsOfRound = epochs * Math.ceil(rows / batch)
  let current: readonly PolicyBatch[] = []
  using trainer = new Trainer({
    ...{ engine, seed, objective: algorithm },
    ...{ model: options.model, optimizer: options.optimizer, rate: options.rate, clip: options.clip },
    batches: { at: (index) => current[index % stepsOfRound]! },
  })
  if (from) {
    if (from.step % stepsOfRound !== 0)
      throw new Error(
        `step ${from.step} is inside a round of ${stepsOfRound} steps: go on from the end of one`,
      )
    trainer.restore(from)
  }
  using read = engine.jit(
    (parts: PolicyParts, tokens: Tensor) => {
      const { logprobs, values } = readPolicy(reader, parts, tokens)
      return { logprobs, values }
    },
    { name: 'readPolicy', axes: [undefined, rowAxes] },
  )
  using readReference = engine.jit(
    (params: DecoderParams, tokens: Tensor) => tokenLogProbabilities(reader, params, tokens),
    { name: 'readReference', axes: [undefined, rowAxes] },
  )

  /** Answers with all that is known of them. */
  const rollOut = async (round: number): Promise<(ScoredAnswer & Answered)[]> => {
    const asked = prompts(round)
    const key = random.fold(random.fold(seed, 0x726f6c6c), round)
    const given = await options.sample(trainer.parts.policy, asked, { samples, seed: key })
    if (asked.length * samples !== rows || given.length !== rows)
      throw new Error(
        `round ${round}: ${asked.length} prompts and ${given.length} answers, not ${rows / samples} and ${rows}`,
      )
    const all = given.map((one, i) => {
      if (one.answer.length === 0) throw new Error('an answer has no token: give the one that ended it')
      return { ...one, prompt: asked[Math.floor(i / samples)]! }
    })
    const rewards = await options.reward(all)
    const { tokens, mask } = answerRows(all)
    const { logprobs, values } = await read(trainer.parts, tokens)
    const known = {
      logprobs: await ofAnswers(logprobs, mask),
      values: values && (await ofAnswers(values, mask)),
      reference: needs.reference ? await ofAnswers(await readReference(reference!, tokens), mask) : undefined,
    }
    return all.map(({ prompt, answer }, i) => {
      const reward = rewards[i]
      if (reward === undefined || !Number.isFinite(reward))
        throw new Error(`round ${round}: the reward of answer ${i} is ${reward}`)
      return {
        ...{ prompt, answer, reward, group: Math.floor(i / samples) },
        ...{ logprobs: known.logprobs[i]!, values: known.values?.[i], reference: known.reference?.[i] },
      }
    })
  }

  const reports: RoundReport[] = []
  for (let round = trainer.step / stepsOfRound; round < rounds; round++) {
    signal?.throwIfAborted()
    const found = await rollOut(round)
    const estimates = algorithm.estimate(found)
    const known = found.map((one, i) => ({ ...one, ...estimates[i]! }))
    current = Array.from({ length: epochs }, (_, epoch) => {
      const order = shuffled(known, random.fold(random.fold(seed, round), epoch))
      return Array.from({ length: stepsOfRound / epochs }, (_, i) =>
        policyBatch(order.slice(i * batch, (i + 1) * batch)),
      )
    }).flat()
    let step: StepReport | undefined
    for (let i = 0; i < stepsOfRound; i++) step = await trainer.next()
    const mean = (f: (one: (typeof found)[number]) => number): number =>
      found.reduce((sum, one) => sum + f(one), 0) / rows
    const report = {
      round: round + 1,
      reward: mean(({ reward }) => reward),
      length: mean(({ answer }) => answer.length),
      step: step!,
    }
    reports.push(report)
    await options.onRound?.(report, trainer.state)
  }
  return { reports, parts: trainer.parts }
}

/** The entries of [batch, T] that belong to answers, by row. */
async function ofAnswers(x: Tensor, mask: Tensor): Promise<number[][]> {
  const data = (await x.load()) as Float32Array
  const [batch, time] = mask.sizes as [number, number]
  return Array.from({ length: batch }, (_, i) =>
    [...data.subarray(i * time, (i + 1) * time)].filter((_, t) => mask.data[i * time + t] === 1),
  )
}

type Known = Answered &
  ScoredAnswer & { readonly advantages: readonly number[]; readonly returns?: readonly number[] }

/** Rows of one step, padded to the longest. */
export function policyBatch(rows: readonly Known[]): PolicyBatch {
  const { tokens, mask } = answerRows(rows)
  const time = tokens.sizes[1]!
  const placed = (list: (row: Known) => readonly number[] | undefined): Tensor | undefined => {
    if (!list(rows[0]!)) return undefined
    const data = new Float32Array(rows.length * time)
    rows.forEach((row, i) => {
      data.set(list(row)!, i * time + row.prompt.length)
    })
    return tensor(data, [rows.length, time])
  }
  return {
    tokens,
    mask,
    logprobs: placed(({ logprobs }) => logprobs)!,
    advantages: placed(({ advantages }) => advantages)!,
    reference: placed(({ reference }) => reference),
    values: placed(({ values }) => values),
    returns: placed(({ returns }) => returns),
  }
}
