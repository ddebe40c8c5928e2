/** What experiments that look into a trained model share: the model, texts that it has not seen, and what a change of it costs. */
import { random } from '../array/index.ts'
import { Model, type TapOptions } from '../model/index.ts'
import type { ExperimentContext, Rows } from './experiment.ts'
import { defaultModel, stories } from './small.ts'

export interface Probed {
  readonly model: Model
  /** Tokens of stories held out from its training, documents one behind the other. */
  readonly heldOut: Int32Array | Uint16Array
}

export async function openProbed(context: ExperimentContext): Promise<Probed> {
  const model = Model.open(defaultModel(), context.engine)
  const { heldOut } = await stories(context, model.tokenizer!, undefined, 0)
  return { model, heldOut }
}

/** `count` windows of `length` tokens, none over another, drawn from a part of the tokens. */
export function windows(
  tokens: Int32Array | Uint16Array,
  {
    count,
    length,
    seed,
    from = 0,
    to = 1,
  }: { count: number; length: number; seed: number; from?: number; to?: number },
): number[][] {
  const [first, last] = [
    Math.ceil((from * tokens.length) / length),
    Math.floor((to * tokens.length) / length),
  ]
  if (last - first < count)
    throw new Error(`${last - first} windows of ${length} tokens where ${count} are asked for`)
  const uniform = random.generator(seed)
  const places = Array.from({ length: last - first }, (_, i) => first + i)
  return Array.from({ length: count }, (_, i) => {
    const j = i + Math.floor(uniform() * (places.length - i))
    ;[places[i], places[j]] = [places[j]!, places[i]!]
    return [...tokens.slice(places[i]! * length, (places[i]! + 1) * length)]
  })
}

/** Nats a token over rows of one length. */
export async function lossOf(
  model: Model,
  rows: readonly number[][],
  edit: TapOptions['edit'] = {},
): Promise<number> {
  let [sum, count] = [0, 0]
  for (let i = 0; i < rows.length; i += 16) {
    const scores = await (await model.score(rows.slice(i, i + 16), { edit })).load()
    for (const score of scores) sum -= Number(score)
    count += scores.length
  }
  return sum / count
}

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** A difference with its 95 % interval, for `reason`. */
export const signed = ({ mean, half }: ReturnType<Rows['difference']>, digits = 2): string =>
  `${mean >= 0 ? '+' : ''}${mean.toFixed(digits)} ± ${half.toFixed(digits)}`
