/** The generation loop: prompts in, tokens out, one at a time for every row of the batch. */
import { random, tensor } from '../array/index.ts'
import { type Cache, remembersEvery } from '../model/cache.ts'
import type { Model, Seq2Seq, TapOptions } from '../model/index.ts'
import { beamSearch } from './beam.ts'
import type { Constraint } from './constrain/index.ts'
import type { TokenLogprob } from './logits.ts'
import { checkBeams, type GenerateOptions, type Generation, parseOptions, rulesOf } from './options.ts'
import type { PromptCache } from './promptCache.ts'
import { type FinishReason, type GenerateEvent, Row } from './row.ts'
import { type Rule, type RuleMaker, ruleOf } from './rule.ts'
import { scoreTokens } from './score.ts'
import { generateTargets } from './targets.ts'

export interface Context {
  readonly signal?: AbortSignal
  /** What the output must be; applied before all rules. */
  readonly constrain?: Constraint
  /** More rules, applied after those of the options; a maker is asked for one for each row. */
  readonly rules?: readonly (Rule | RuleMaker)[]
  /** Edits that hold during generation. */
  readonly edit?: TapOptions['edit']
  /** What the last generation has left, where this one goes on from; for one row of a decoder. */
  readonly promptCache?: PromptCache
}

/** A prompt: text, which is encoded with the special tokens of the model, or token ids as they are. */
export type Prompt = string | readonly number[]

/** An encoder-decoder answers its prompt; a decoder goes on with it. */
const isSeq2Seq = (model: Model | Seq2Seq): model is Seq2Seq => 'encode' in model

/** The token ids of a prompt. */
export function promptTokens(model: Pick<Model, 'tokenizer' | 'path'>, prompt: Prompt): number[] {
  if (typeof prompt !== 'string') {
    if (prompt.length === 0) throw new Error('a prompt has no tokens')
    return [...prompt]
  }
  if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer: give token ids instead of text`)
  const { ids } = model.tokenizer.encode(prompt)
  if (ids.length > 0) return ids
  if (model.tokenizer.bos === undefined)
    throw new Error('the prompt is empty and the model has no begin token')
  return [model.tokenizer.bos]
}

/**
 * Continues every prompt until each has finished. Events of one step come in the order of the rows; a row's
 * last event carries `finish`. Rows are independent: a batch gives what each prompt gives alone, up to the
 * rounding of the products. Aborting throws the signal's reason between two steps, and on the processor in Node within
 * the first. An encoder-decoder takes what
 * shapes a row, and neither beams nor `promptLogprobs`.
 */
export async function* generate(
  model: Model | Seq2Seq,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
  context: Context = {},
): AsyncGenerator<GenerateEvent, void, void> {
  const settings = parseOptions(options)
  const { tokenizer } = model
  if (settings.stop.length > 0 && !tokenizer)
    throw new Error(`stop texts need a tokenizer; ${model.path} has none`)
  const ends = new Set(settings.stopTokens ?? model.ends)
  const constrain = context.constrain ? [context.constrain.rule(ends)] : []
  const seed = settings.seed ?? Math.floor(Math.random() * 2 ** 32)
  const asked = prompts
    .flatMap((prompt) => new Array<Prompt>(settings.samples).fill(prompt))
    .map((prompt) => promptTokens(model, prompt))
  const rows = asked.map((prompt, i) => {
    const own = asked.length === 1 ? seed : random.fold(seed, i)
    const rules = [...constrain, ...rulesOf(settings, tokenizer), ...(context.rules ?? []).map(ruleOf)]
    return isSeq2Seq(model)
      ? new Row([model.spec.start], settings, own, tokenizer, rules, model.spec.start)
      : new Row(prompt, settings, own, tokenizer, rules)
  })
  if (rows.length === 0) return
  checkBeams(settings)
  if (context.promptCache && (isSeq2Seq(model) || rows.length > 1 || settings.beams > 1))
    throw new Error('a prompt cache is for one row of a decoder, without beams')
  if (isSeq2Seq(model)) {
    yield* generateTargets(model, asked, rows, settings, { ends, ...context })
    return
  }
  if (settings.beams > 1) {
    if (context.rules?.length || context.edit || context.constrain)
      throw new Error('beam search takes no rules, edits or constraints yet')
    for (const [i, row] of rows.entries()) yield* searched(model, row, i, settings, ends, context.signal)
    return
  }
  const longest = Math.max(...rows.map(({ tokens }) => tokens.length))
  if (longest > model.context)
    throw new RangeError(`a prompt of ${longest} tokens; the model was made for ${model.context}`)
  const capacity = Math.min(model.context, longest + settings.maxTokens)

  const { promptCache, edit } = context
  const start = await promptCache?.take(model, edit, rows[0]!.tokens, capacity)
  // Undefined while a step writes into it: what a step that failed has left is nothing to go on from.
  let cache: Cache | undefined = start?.cache ?? model.newCache(rows.length, capacity)
  const lengths = new Int32Array(rows.length).fill(start?.length ?? 0)
  // Prompts are padded at the end: causal attention hides the padding, and later tokens overwrite it.
  let fresh = rows.map(({ tokens }, i) => tokens.slice(lengths[i]))
  try {
    while (rows.some(({ finish }) => finish === undefined)) {
      context.signal?.throwIfAborted()
      const width = Math.max(...fresh.map((row) => row.length))
      const given: Cache = cache!
      const input = {
        tokens: model.rows(fresh.map((row) => [...row, ...new Array<number>(width - row.length).fill(0)])),
        cache: given,
        lengths: tensor(lengths.slice()),
        at: tensor(Int32Array.from(fresh, (row) => row.length - 1)),
      }
      cache = undefined
      // A single token is soon there, and the cache of those before it is kept whole.
      const signal = width > 1 ? context.signal : undefined
      const step = await model.step(input, { edit: edit ?? {} }, signal).catch((error: unknown) => {
        if (signal?.aborted && error === signal.reason && remembersEvery(given)) cache = given
        throw error
      })
      cache = step.cache
      fresh.forEach((row, i) => {
        if (rows[i]!.finish === undefined) lengths[i]! += row.length
      })
      const logits = (await step.logits.load()) as Float32Array
      const vocab = model.spec.vocab
      fresh = []
      for (const [i, row] of rows.entries()) {
        if (row.finish !== undefined) {
          fresh.push([0])
          continue
        }
        // The row's own part, which its rules may change.
        const own = logits.subarray(i * vocab, (i + 1) * vocab)
        fresh.push([yield* row.advance(own, i, settings, { ends, room: model.context })])
      }
      step.logits.dispose()
    }
  } finally {
    if (cache) promptCache?.keep(model, edit, cache, rows[0]!.tokens, lengths[0]!)
  }
}

/** The best text of a beam search, as events. */
async function* searched(
  model: Model,
  row: Row,
  index: number,
  settings: Generation,
  ends: ReadonlySet<number>,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerateEvent, void, void> {
  const { beams, beamGroups: groups, diversityPenalty, lengthPenalty, earlyStopping, maxTokens } = settings
  const [best] = await beamSearch(model, row.tokens, {
    ...{ beams, groups, diversityPenalty, lengthPenalty, earlyStopping, maxTokens, ends: [...ends] },
    ...(signal && { signal }),
  })
  for (const token of best!.tokens) if (!ends.has(token)) yield { row: index, token, text: row.accept(token) }
  const stopped = ends.has(best!.tokens.at(-1)!)
  yield { row: index, text: row.rest(), finish: stopped ? 'stop' : 'length' }
}

export interface Completion {
  readonly text: string
  /** Generated tokens; a stop token is not among them. */
  readonly tokens: readonly number[]
  readonly finish: FinishReason
  readonly promptTokens: readonly number[]
  readonly logprobs?: readonly (TokenLogprob & { readonly top: readonly TokenLogprob[] })[]
  /** Log-probabilities of the prompt's tokens after the first, in nats. */
  readonly promptLogprobs?: readonly number[]
}

/** Runs `generate` to its end. */
export async function complete(
  model: Model | Seq2Seq,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
  context: Context = {},
): Promise<Completion[]> {
  const { samples } = parseOptions(options)
  const results = prompts
    .flatMap((prompt) => new Array<Prompt>(samples).fill(prompt))
    .map((prompt) => ({
      text: '',
      tokens: [] as number[],
      finish: 'length' as FinishReason,
      promptTokens: promptTokens(model, prompt),
      ...(options.logprobs !== undefined && {
        logprobs: [] as (TokenLogprob & { top: readonly TokenLogprob[] })[],
      }),
    }))
  for await (const event of generate(model, prompts, options, context)) {
    const result = results[event.row]!
    result.text += event.text
    if (event.token !== undefined) {
      result.tokens.push(event.token)
      result.logprobs?.push({ token: event.token, logprob: event.logprob!, top: event.top! })
    }
    if (event.finish) result.finish = event.finish
  }
  if (!options.promptLogprobs || isSeq2Seq(model)) return results
  const scored: Completion[] = []
  for (const result of results)
    scored.push({ ...result, promptLogprobs: await scoreTokens(model, result.promptTokens) })
  return scored
}
