/** `glossa tokenizer`: training vocabularies, and comparing them. */
import * as z from 'zod'
import { jsonOption } from './common.ts'
import { compare } from './tokenizer/compare.ts'
import { flagOf, type Kind, kindNames, train, trainingFlags, trainingOptions } from './tokenizer/train.ts'
import { type Flag, UsageError, verb } from './verb.ts'

const options = z.strictObject({
  action: z.enum(['train', 'compare']).describe('train writes a vocabulary; compare measures several'),
  kind: z.enum(kindNames).optional().describe('train: what is trained, byte-level bpe if not given'),
  file: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('train: texts, in .txt, .txt.gz, .jsonl or .jsonl.gz'),
  heldOut: z
    .number()
    .min(0)
    .max(0.5)
    .optional()
    .describe("train: share of each file's documents, the last ones, that is left out, as recipes do"),
  output: z.string().min(1).optional().describe('train: folder for tokenizer.json'),
  model: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('compare: a folder, tokenizer.json, .gguf, llama2.c tokenizer.bin, or org/name on the hub'),
  textFile: z.string().min(1).optional().describe('compare: the text, in the same formats'),
  field: z.string().min(1).default('text').describe('Key of the text in a line of .jsonl'),
  json: jsonOption,
  ...trainingOptions,
})

const flags: Readonly<Record<string, Flag>> = {
  file: { value: 'FILE' },
  output: { short: 'o', value: 'FOLDER' },
  model: { short: 'm', value: 'MODEL' },
  textFile: { value: 'FILE' },
  ...trainingFlags,
}

export default verb({
  name: 'tokenizer',
  summary: 'Train a tokenizer, or compare how tokenizers fit a text',
  options,
  flags,
  argument: 'action',
  notes: `glossa tokenizer train --kind bpe --vocab 4096 --file stories.txt.gz -o my-tokenizer
glossa tokenizer compare -m my-tokenizer -m models/starter --text-file story.txt

Lines <|endoftext|> separate the documents of a text file. compare: bytes/token of the text; tokens/word, a word being
a run of letters, marks and digits; whole: words that are one token; unknown: tokens that stand for unknown text;
Rényi: efficiency of order 2.5 (Zouhar et al. 2023); used: the share of the vocabulary that occurs.
docs/tokenizers.md tells what the options do.`,
  async run(given) {
    const { action, kind, file, heldOut, output, model, textFile, field, json, ...rest } = given
    const training = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
    const required = (flag: string, value: unknown): void => {
      if (value === undefined) throw new UsageError(`${flag} is missing: tokenizer ${action} needs it`)
    }
    const foreign = (others: Readonly<Record<string, unknown>>): void => {
      const found = Object.keys(others).find((flag) => others[flag] !== undefined)
      if (found !== undefined) throw new UsageError(`${found} is not for tokenizer ${action}`)
    }
    if (action === 'train') {
      foreign({ '--model': model, '--text-file': textFile })
      required('--file', file)
      required('--output', output)
      const settings = { files: file!, output: output!, kind: (kind ?? 'bpe') as Kind }
      await train({ ...settings, heldOut: heldOut ?? 0, field, json, training })
    } else {
      foreign({ '--file': file, '--held-out': heldOut, '--output': output, '--kind': kind })
      const [extra] = Object.keys(training)
      if (extra !== undefined)
        throw new UsageError(`${flagOf(extra)} is for tokenizer train, not for compare`)
      required('--model', model)
      required('--text-file', textFile)
      await compare({ models: model!, textFile: textFile!, field, json })
    }
    return 0
  },
})
