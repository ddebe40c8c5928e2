/** Text as it is written, token by token, with what else there could have been; and the same of a given text. */
import * as z from 'zod'
import {
  generate,
  logSumExp,
  mostLikely,
  parseOptions,
  promptTokens,
  type Rule,
  type RuleMaker,
  ruleOf,
  rulesOf,
  scoreBatch,
  scoreTop,
} from '../../decode/index.ts'
import { parseMethodSpec } from '../../method/index.ts'
import { type Edits, joinEdits } from '../../model/edits.ts'
import type { Model } from '../../model/index.ts'
import { repetition } from '../../steer/quality.ts'
import { operation, streamModel, withModel } from '../operation.ts'
import { pieces } from './text.ts'

const alternatives = 8

/** How text is drawn. */
export const drawing = {
  maxTokens: z.int().positive().max(2048).default(100),
  temperature: z.number().min(0).max(5).default(0.8),
  topP: z.number().gt(0).max(1).default(1),
  seed: z.int().nonnegative().default(1),
  with: z.array(z.string().min(1)).default([]).describe('Methods by their specs'),
}

/** What a token is known by on a page. */
interface Shown {
  readonly id: number
  readonly text: string
  /** Nats, under what the token was drawn from before temperature and rules. */
  readonly logprob: number
  /** Nats. */
  readonly entropy: number
  readonly top: readonly { readonly text: string; readonly logprob: number }[]
}

function entropyOf(logits: Float32Array): number {
  const total = logSumExp(logits)
  let entropy = 0
  for (const x of logits) {
    const p = Math.exp(x - total)
    if (p > 0) entropy -= p * (x - total)
  }
  return entropy
}

const shownTop = (model: Model, top: readonly { token: number; logprob: number }[]): Shown['top'] =>
  top.map(({ token, logprob }) => ({ text: pieces(model, [token])[0]!, logprob }))

/** How much a method changed the log-probability of a token, in nats: above 0 where it made it likelier. */
interface Credit {
  readonly id: string
  readonly nats: number
}

/** What was seen at one token: of the model's own distribution, and what each rule made of it. */
interface Step {
  readonly entropy: number
  readonly top: Shown['top']
  readonly changes: { readonly id: string; readonly before: Float32Array; readonly after: Float32Array }[]
}

/** The same rule; what it does to a row is kept in its last step. */
const watched = (id: string, source: Rule | RuleMaker, steps: readonly Step[]): RuleMaker => ({
  rule() {
    const rule = ruleOf(source)
    return (logits, context) => {
      const before = logits.slice()
      rule(logits, context)
      steps.at(-1)?.changes.push({ id, before, after: logits.slice() })
    }
  },
})

function creditsOf(token: number, { changes }: Step): Credit[] {
  const credits = new Map<string, number>()
  for (const { id, before, after } of changes) {
    const logprob = (logits: Float32Array): number => logits[token]! - logSumExp(logits)
    credits.set(id, (credits.get(id) ?? 0) + logprob(after) - logprob(before))
  }
  return [...credits].map(([id, nats]) => ({ id, nats }))
}

/** What each method that edits activations changed, on top of those before it: nats by token after the prompt. */
async function editCredits(
  plain: Model,
  parts: readonly { readonly id: string; readonly edit: Edits }[],
  row: readonly number[],
  promptLength: number,
): Promise<{ id: string; nats: number[] }[]> {
  const editing = parts.filter(({ edit }) => Object.keys(edit).length > 0)
  if (editing.length === 0) return []
  const scores = async (edit: Edits): Promise<number[]> =>
    [...(await scoreBatch(plain.edited(edit), [[...row]]))[0]!].slice(promptLength - 1)
  const credits: { id: string; nats: number[] }[] = []
  let [before, edit] = [await scores({}), {} as Edits]
  for (const part of editing) {
    edit = joinEdits(edit, part.edit)
    const after = await scores(edit)
    credits.push({ id: part.id, nats: after.map((nats, i) => nats - before[i]!) })
    before = after
  }
  return credits
}

/**
 * Tokens as they are drawn, with what each rule changed in them; at the end what each edit changed in all of them.
 */
export const write = operation({
  name: 'write',
  input: z.strictObject({ model: z.string(), prompt: z.string(), ...drawing }),
  run: (bench, { model: name, prompt, with: specs, ...options }, signal) =>
    streamModel(bench, name, async function* ({ model: plain, methods, rules: own }) {
      const draws = options.temperature > 0
      const parts: { id: string; edit: Edits; rules: readonly (Rule | RuleMaker)[] }[] = []
      for (const spec of specs)
        parts.push({ id: parseMethodSpec(spec).id, ...(await methods([spec], draws)) })
      const model = plain.edited(parts.reduce((all: Edits, { edit }) => joinEdits(all, edit), {}))
      const ids = promptTokens(model, prompt)
      const steps: Step[] = []
      // Before any rule: the distribution that the model gives.
      const look = (logits: Float32Array): void => {
        const top = shownTop(model, mostLikely(logits, alternatives))
        steps.push({ entropy: entropyOf(logits), top, changes: [] })
      }
      const rules = parts.flatMap(({ id, rules }) => rules.map((rule) => watched(id, rule, steps)))
      const written: number[] = []
      const began = performance.now()
      const settings = parseOptions({ ...options, logprobs: 0, ...(!draws && { topP: 1 }) })
      // The rules of the options come after the look, so that it sees what the model says.
      const ruled = draws ? [...rulesOf(settings), ...own, ...rules] : []
      const bare = { ...settings, ...(draws && { temperature: 1 }), topP: 1 }
      for await (const { token, logprob, finish } of generate(model, [ids], bare, {
        signal,
        rules: [look, ...ruled],
      })) {
        if (token !== undefined) {
          written.push(token)
          const step = steps.shift() ?? { entropy: Number.NaN, top: [], changes: [] }
          const shown: Shown = {
            id: token,
            text: pieces(model, [token])[0]!,
            logprob: logprob ?? Number.NaN,
            entropy: step.entropy,
            top: step.top,
          }
          yield { kind: 'token', ...shown, by: creditsOf(token, step) }
        }
        if (finish) {
          const seconds = (performance.now() - began) / 1000
          const edits = await editCredits(plain, parts, [...ids, ...written], ids.length)
          yield { kind: 'end', finish, count: written.length, seconds, edits }
        }
      }
    }),
})

export const score = operation({
  name: 'score',
  input: z.strictObject({ model: z.string(), text: z.string(), with: drawing.with }),
  run: (bench, { model: name, text, with: specs }) =>
    withModel(bench, name, async ({ model, methods }) => {
      const { edit } = await methods(specs, false)
      const ids = promptTokens(model, text).slice(0, model.context)
      const scored = await scoreTop(model, ids, alternatives, edit)
      return {
        first: pieces(model, ids.slice(0, 1))[0],
        tokens: scored.map(({ token, logprob, top }) => ({
          ...{ id: token, text: pieces(model, [token])[0]!, logprob, entropy: null },
          top: shownTop(model, top),
        })),
      }
    }),
})

/** Speed and quality of a stack of methods on the same prompts: text, tokens a second, perplexity under the plain model. */
export const measure = operation({
  name: 'measure',
  input: z.strictObject({ model: z.string(), prompts: z.array(z.string()).nonempty().max(32), ...drawing }),
  run: (bench, { model: name, prompts, with: specs, ...options }, signal) =>
    streamModel(bench, name, async function* ({ model: plain, methods, rules: own }) {
      const draws = options.temperature > 0
      const { edit, rules } = await methods(specs, draws)
      const model = plain.edited(edit)
      for (const prompt of prompts) {
        const ids = promptTokens(model, prompt)
        const began = performance.now()
        const tokens: number[] = []
        const settings = parseOptions(options)
        for await (const { token } of generate(model, [ids], settings, {
          signal,
          rules: draws ? [...own, ...rules] : [],
        }))
          if (token !== undefined) tokens.push(token)
        const seconds = (performance.now() - began) / 1000
        const [all] = await scoreBatch(plain, [[...ids, ...tokens].slice(0, plain.context)])
        const scores = all!.slice(ids.length - 1)
        const mean = scores.reduce((a, b) => a + b, 0) / Math.max(1, scores.length)
        yield {
          prompt,
          text: pieces(model, tokens).join(''),
          tokens: tokens.length,
          speed: tokens.length / seconds,
          perplexity: Math.exp(-mean),
          repetition: repetition([tokens]),
        }
      }
    }),
})
