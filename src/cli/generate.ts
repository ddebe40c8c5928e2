/** `glossa generate`: continues prompts, streaming to the terminal. */
import * as z from 'zod'
import {
  type Context,
  type FinishReason,
  type GenerateOptions,
  generate,
  generateSchema,
  scoreTokens,
  type TokenLogprob,
} from '../decode/index.ts'
import { Model, type Seq2Seq, weightBill } from '../model/index.ts'
import {
  constrainFlags,
  constrainOptions,
  encode,
  exactlyOne,
  jsonOption,
  modelFlags,
  modelOptions,
  openGenerator,
  readConstraint,
} from './common.ts'
import {
  bytes,
  dim,
  exitCode,
  interruptible,
  note,
  print,
  printable,
  printJson,
  short,
  table,
} from './terminal.ts'
import { verb } from './verb.ts'

const options = z.strictObject({
  ...modelOptions.shape,
  prompt: z.array(z.string()).optional().describe('Text to continue; several are continued side by side'),
  tokens: z.array(z.array(z.int().nonnegative())).optional().describe('Token ids instead of text'),
  ...generateSchema.shape,
  ...constrainOptions.shape,
  json: jsonOption,
})

type AnyGenerator = Model | Seq2Seq

/** One prompt and what has become of it. */
interface Row {
  /** As shown before the continuation. */
  readonly prompt: string
  readonly promptTokens: readonly number[]
  /** For a model without a tokenizer the ids, which are then all that there is to show. */
  text: string
  readonly tokens: number[]
  readonly logprobs: (TokenLogprob & { readonly top: readonly TokenLogprob[] })[]
  promptLogprobs?: readonly number[]
  finish: FinishReason | 'aborted' | undefined
}

/** Loading is not part of these times. */
interface Rates {
  readonly firstTokenMs: number | null
  readonly totalMs: number
  /** After the first token, of all prompts together. */
  readonly tokensPerSecond: number | null
}

export default verb({
  name: 'generate',
  summary: 'Continue a text',
  options,
  flags: {
    ...modelFlags,
    ...constrainFlags,
    prompt: { short: 'p' },
    tokens: {},
    maxTokens: { short: 'n' },
    temperature: { name: 'temp', also: ['temperature'] },
    repetitionPenalty: { also: ['repeat-penalty'] },
  },
  notes: `With several prompts the JSON object has a list 'completions'. Ctrl-C stops generation and keeps what there
is, with the finish reason 'aborted' and exit code 130. An encoder-decoder (T5) answers its prompt; it takes neither
beams nor --prompt-logprobs.`,
  async run({ model: path, weights, lora, context, device, threads, json, prompt, tokens, ...rest }) {
    const { jsonSchema, grammar, with: methods, ...given } = rest
    exactlyOne({ '-p': prompt, '--tokens': tokens })
    const started = performance.now()
    await using opened = await openGenerator({
      model: path,
      weights,
      lora,
      with: methods,
      context,
      device,
      threads,
    })
    const { model, rules } = opened
    const constrained = readConstraint(model, { jsonSchema, grammar })
    const { samples, ...sampling } = given
    const asked = (prompt ?? tokens!).flatMap((entry) => new Array<typeof entry>(samples).fill(entry))
    const rows = asked.map((entry) => newRow(model, entry))
    const settings = { ...sampling, seed: given.seed ?? Math.floor(Math.random() * 2 ** 32) }
    if (model instanceof Model) await model.prepare()
    const loadMs = Math.round(performance.now() - started)

    // Awaited here: the engine is disposed of when this returns.
    return await interruptible(async (signal) => {
      const printer = json ? undefined : new Printer(rows)
      const rates = await continueRows(model, rows, settings, { ...constrained, rules, signal }, printer)
      printer?.end()
      if (settings.promptLogprobs && model instanceof Model)
        for (const row of rows) row.promptLogprobs = await scoreTokens(model, row.promptTokens)
      const { bytes: size } = weightBill(model)
      if (json) {
        const results = rows.map((row) => completion(model, row, settings))
        const about = { seed: settings.seed, weights, bytes: size, timing: { loadMs, ...rates } }
        printJson(results.length === 1 ? { ...results[0], ...about } : { completions: results, ...about })
      } else {
        for (const row of rows) print(logprobTable(model, row))
        note(summary(rows, rates, `${weights} weights of ${bytes(size)}`, settings))
      }
      return exitCode(signal)
    })
  },
})

function newRow(model: AnyGenerator, entry: string | readonly number[]): Row {
  const { tokenizer } = model
  const text = typeof entry === 'string'
  const promptTokens = text ? encode(model, entry) : entry
  // Ids outside of the vocabulary are reported before anything is shown.
  model.rows([promptTokens])
  const prompt = text
    ? entry
    : tokenizer
      ? tokenizer.decode(promptTokens, { skipSpecialTokens: true })
      : promptTokens.join(' ')
  // An encoder-decoder does not go on with its prompt: its text stands below.
  const shown = model instanceof Model ? prompt : `${prompt}\n`
  return { prompt: shown, promptTokens, text: '', tokens: [], logprobs: [], finish: undefined }
}

/** Runs the generation to its end, or to where the signal stops it. */
async function continueRows(
  model: AnyGenerator,
  rows: readonly Row[],
  settings: GenerateOptions,
  context: Context & { readonly signal: AbortSignal },
  printer: Printer | undefined,
): Promise<Rates> {
  const start = performance.now()
  let firstToken: number | undefined
  const prompts = rows.map(({ promptTokens }) => promptTokens)
  try {
    for await (const event of generate(model, prompts, settings, context)) {
      firstToken ??= performance.now()
      const row = rows[event.row]!
      if (event.token !== undefined) row.tokens.push(event.token)
      row.text += model.tokenizer || event.token === undefined ? event.text : ` ${event.token}`
      if (event.logprob !== undefined)
        row.logprobs.push({ token: event.token!, logprob: event.logprob, top: event.top! })
      row.finish = event.finish
      printer?.update()
    }
  } catch (error) {
    if (!context.signal.aborted) throw error
    for (const row of rows) row.finish ??= 'aborted'
  }
  const end = performance.now()
  const round = (ms: number): number => Math.round(ms * 1000) / 1000
  const later = rows.reduce((sum, { tokens }) => sum + Math.max(0, tokens.length - 1), 0)
  return {
    firstTokenMs: firstToken === undefined ? null : round(firstToken - start),
    totalMs: round(end - start),
    tokensPerSecond: later === 0 ? null : round((1000 * later) / (end - firstToken!)),
  }
}

/** Shows rows one after the other: the first one that has not finished as it grows. */
class Printer {
  readonly #rows: readonly Row[]
  /** The row being shown, and how much of it is. Nothing is shown before the first token: it may be an error. */
  #at = -1
  #shown = 0

  constructor(rows: readonly Row[]) {
    this.#rows = rows
  }

  /** Shows what has come since. */
  update(): void {
    for (;;) {
      const row = this.#rows[this.#at]
      if (row) {
        print(printable(row.text.slice(this.#shown)))
        this.#shown = row.text.length
        if (row.finish === undefined || row === this.#rows.at(-1)) return
        print('\n\n')
      }
      this.#at++
      this.#shown = 0
      print(dim(printable(this.#rows[this.#at]!.prompt)))
    }
  }

  end(): void {
    this.update()
    print('\n')
  }
}

/** What one prompt gave, for JSON. */
function completion({ tokenizer }: AnyGenerator, row: Row, { logprobs }: GenerateOptions): object {
  const named = ({ token, logprob }: TokenLogprob) => ({ token, piece: tokenizer?.token(token), logprob })
  return {
    text: tokenizer ? row.text : null,
    tokens: row.tokens,
    finish: row.finish,
    promptTokens: row.promptTokens,
    promptLogprobs: row.promptLogprobs,
    logprobs:
      logprobs === undefined
        ? undefined
        : row.logprobs.map((entry) => ({ ...named(entry), top: entry.top.map(named) })),
  }
}

/** Log-probabilities for people: a line for each token, prompt first. */
function logprobTable(
  { tokenizer }: AnyGenerator,
  { promptTokens, promptLogprobs = [], logprobs }: Row,
): string {
  const piece = (token: number): string => (tokenizer ? JSON.stringify(tokenizer.token(token)) : '')
  const line = ({ token, logprob }: TokenLogprob): string[] => [`${token}`, piece(token), logprob.toFixed(4)]
  const rows = [
    ...promptLogprobs.map((logprob, i) => ['prompt', ...line({ token: promptTokens[i + 1]!, logprob })]),
    ...logprobs.map(({ top, ...chosen }) => [
      '',
      ...line(chosen),
      top.map((entry) => line(entry).filter(Boolean).slice(-2).join(' ')).join('  '),
    ]),
  ]
  return rows.length > 0 ? `\n${table(rows, [1, 3])}` : ''
}

function summary(
  rows: readonly Row[],
  { firstTokenMs, tokensPerSecond }: Rates,
  weights: string,
  { temperature, seed }: GenerateOptions,
): string {
  const count = rows.reduce((sum, { tokens }) => sum + tokens.length, 0)
  const parts = [`${count} token${count === 1 ? '' : 's'}`]
  if (tokensPerSecond !== null) parts.push(`${short(tokensPerSecond)} tokens/s`)
  if (firstTokenMs !== null)
    parts.push(`first token after ${firstTokenMs.toFixed(firstTokenMs < 10 ? 1 : 0)} ms`)
  parts.push(weights)
  if (temperature !== 0) parts.push(`seed ${seed}`)
  if (rows.some(({ finish }) => finish === 'aborted')) parts.push('stopped')
  if (rows.some(({ finish }) => finish === 'context')) parts.push("the model's context is full")
  return parts.join(', ')
}
