/** Text as it is written, token by token, with what else there could have been; and the same of a given text. */
import * as z from 'zod'
import {
  generate,
  logSumExp,
  mostLikely,
  parseOptions,
  promptTokens,
  scoreBatch,
  scoreTop,
} from '../../decode/index.ts'
import { parseMethodSpec } from '../../method/index.ts'
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

export const write = operation({
  name: 'write',
  input: z.strictObject({ model: z.string(), prompt: z.string(), ...drawing }),
  run: (bench, { model: name, prompt, with: specs, ...options }, signal) =>
    streamModel(bench, name, async function* ({ model: plain, methods, rules: own }) {
      const draws = options.temperature > 0
      const { edit, rules } = await methods(specs, draws)
      const model = plain.edited(edit)
      const ids = promptTokens(model, prompt)
      const by = specs.map((spec) => parseMethodSpec(spec).id)
      // Before any rule: the distribution that the model gives.
      const seen: { entropy: number; top: Shown['top'] }[] = []
      const look = (logits: Float32Array): void => {
        seen.push({ entropy: entropyOf(logits), top: shownTop(model, mostLikely(logits, alternatives)) })
      }
      const began = performance.now()
      let count = 0
      const settings = parseOptions({
        ...options,
        logprobs: 0,
        ...(options.temperature === 0 && { topP: 1 }),
      })
      for await (const { token, logprob, finish } of generate(model, [ids], settings, {
        ...{ signal, rules: [look, ...(draws ? [...own, ...rules] : [])] },
      })) {
        if (token !== undefined) {
          count++
          const { entropy, top } = seen.shift() ?? { entropy: Number.NaN, top: [] }
          const shown: Shown = {
            id: token,
            text: pieces(model, [token])[0]!,
            logprob: logprob ?? Number.NaN,
            entropy,
            top,
          }
          yield { kind: 'token', ...shown, by }
        }
        if (finish) yield { kind: 'end', finish, count, seconds: (performance.now() - began) / 1000 }
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
