/** `glossa score`: how likely the model finds a text. */
import * as z from 'zod'
import { scoreTokens } from '../decode/index.ts'
import type { Tokenizer } from '../text/index.ts'
import {
  encode,
  exactlyOne,
  jsonOption,
  modelFlags,
  modelOptions,
  openModel,
  readText,
  tokensOption,
} from './common.ts'
import { Progress, print, printJson, short, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'score',
  summary: 'Measure how likely a text is',
  options: z.strictObject({
    ...modelOptions.shape,
    textFile: z.string().min(1).optional().describe('A text file, UTF-8; - is stdin'),
    prompt: z.string().optional().describe('The text itself'),
    tokens: tokensOption,
    json: jsonOption,
  }),
  flags: { ...modelFlags, textFile: { value: 'FILE' }, prompt: { short: 'p' } },
  notes: `The text is encoded as the model's configuration says, with a begin-of-text token where it has one. Every token
after the first is scored. What is longer than the context (at most 2048 tokens unless --context says otherwise) is
read in windows that begin half a context apart: each token sees all before it, or at least half a context. 'bytes'
are those of the tokens that were scored. Numbers that do not exist are null: the perplexity of one token, bits per
byte without a tokenizer.`,
  async run({ textFile, prompt, tokens, json, ...settings }) {
    exactlyOne({ '--text-file': textFile, '-p': prompt, '--tokens': tokens })
    const text = textFile === undefined ? prompt : readText(textFile)
    await using opened = await openModel(settings)
    const { model } = opened
    const ids = text === undefined ? tokens! : encode(model, text)

    const progress = new Progress('scoring token', ids.length)
    const logprobs = await scoreTokens(model, ids, {
      ...(settings.context !== undefined && { window: settings.context }),
      onProgress: (done) => progress.update(done),
    })

    const loglikelihood = logprobs.reduce((sum, logprob) => sum + logprob, 0)
    const bytes = model.tokenizer ? scoredBytes(model.tokenizer, ids, text) : null
    const scored = logprobs.length
    const perplexity = scored === 0 ? null : Math.exp(-loglikelihood / scored)
    const bitsPerByte = bytes ? -loglikelihood / Math.LN2 / bytes : null
    const { weights } = settings
    if (json)
      printJson({ tokens: ids.length, loglikelihood, perplexity, bitsPerByte, bytes, ids, logprobs, weights })
    else
      print(
        table([
          ['tokens', `${ids.length}`],
          ['log-likelihood', `${short(loglikelihood)} nats`],
          ['perplexity', perplexity === null ? '-' : short(perplexity)],
          ['bits per byte', bitsPerByte === null ? '-' : short(bitsPerByte)],
        ]),
      )
    return 0
  },
})

/** UTF-8 bytes of what the tokens after the first stand for. */
function scoredBytes(tokenizer: Tokenizer, ids: readonly number[], text: string | undefined): number {
  if (text === undefined) return ids.slice(1).reduce((sum, id) => sum + tokenizer.bytes(id).length, 0)
  // Where the first token is one of the text and not the begin token, its part is given and not predicted.
  const given = tokenizer.encode(text).offsets[0]?.[1] ?? 0
  return Buffer.byteLength(text.slice(given))
}
