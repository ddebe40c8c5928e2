/** `glossa score`: how likely the model finds a text. */
import * as z from 'zod'
import { scoreDocuments, scoredBytes, scoreTokens } from '../decode/index.ts'
import type { Model } from '../model/index.ts'
import { openText } from '../train/data/index.ts'
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
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'score',
  summary: 'Measure how likely a text is',
  options: z.strictObject({
    ...modelOptions.shape,
    textFile: z.string().min(1).optional().describe('A text file, UTF-8; - is stdin'),
    prompt: z.string().optional().describe('The text itself'),
    tokens: tokensOption,
    documents: z
      .array(z.string().min(1))
      .optional()
      .describe(
        '.txt or .txt.gz with a line <|endoftext|> between documents, each scored from its own beginning',
      ),
    heldOut: z
      .number()
      .positive()
      .max(1)
      .default(1)
      .describe('Share of the documents of each file, the last ones, as recipes hold them out'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, textFile: { value: 'FILE' }, prompt: { short: 'p' }, documents: { value: 'FILE' } },
  notes: `The text is encoded as the model's configuration says, with a begin-of-text token where it has one. Every token
after the first is scored. What is longer than the context (at most 2048 tokens unless --context says otherwise) is
read in windows that begin half a context apart: each token sees all before it, or at least half a context. 'bytes'
are those of the tokens that were scored. Numbers that do not exist are null: the perplexity of one token, bits per
byte without a tokenizer. Bits per byte of documents have their standard error over documents.`,
  async run({ textFile, prompt, tokens, documents, heldOut, json, ...settings }) {
    exactlyOne({ '--text-file': textFile, '-p': prompt, '--tokens': tokens, '--documents': documents })
    if (documents) return scoreFiles(documents, heldOut, json, settings)
    if (heldOut !== 1) throw new UsageError('--held-out goes with --documents')
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
    const bytes = bytesOf(model, ids, text)
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

type Settings = Parameters<typeof openModel>[0]

async function scoreFiles(
  files: readonly string[],
  share: number,
  json: boolean,
  settings: Settings,
): Promise<number> {
  const texts: string[] = []
  for (const file of files) {
    const rows = await openText(file)
    for (let i = rows.length - Math.ceil(rows.length * share); i < rows.length; i++)
      texts.push(((await rows.at(i)) as { text: string }).text)
  }
  await using opened = await openModel(settings)
  const { model } = opened
  const progress = new Progress('scoring document', texts.length)
  const score = await scoreDocuments(model, texts, {
    ...(settings.context !== undefined && { window: settings.context }),
    onProgress: (done) => progress.update(done),
  })
  const { documents, tokens, bytes, loglikelihood, bitsPerByte, standardError } = score
  const perplexity = Math.exp(-loglikelihood / tokens)
  const { weights } = settings
  if (json)
    printJson({ documents, tokens, loglikelihood, perplexity, bitsPerByte, standardError, bytes, weights })
  else
    print(
      table([
        ['documents', `${documents}`],
        ['tokens', `${tokens}`],
        ['log-likelihood', `${short(loglikelihood)} nats`],
        ['perplexity', short(perplexity)],
        [
          'bits per byte',
          `${short(bitsPerByte)}${standardError === null ? '' : ` ± ${short(standardError)}`}`,
        ],
      ]),
    )
  return 0
}

/** UTF-8 bytes of what the tokens after the first stand for; null where there is no tokenizer. */
function bytesOf(model: Model, ids: readonly number[], text: string | undefined): number | null {
  const { tokenizer } = model
  if (!tokenizer) return null
  if (text !== undefined) return scoredBytes(model, text)
  return ids.slice(1).reduce((sum, id) => sum + tokenizer.bytes(id).length, 0)
}
