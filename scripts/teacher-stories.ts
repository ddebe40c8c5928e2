/**
 * Draws stories from a model that writes them, as a text file with a line <|endoftext|> after each: data for models
 * that learn from it. Goes on where a file that is there ends, with the same stories that one run would have drawn.
 *
 *   npx tsx scripts/teacher-stories.ts ../runs/stories15M/model.bin -o ../runs/stories.txt --stories 20000
 *
 * Temperature 1 and the whole distribution: what is drawn is as varied as what the model has learned.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { complete } from '../src/decode/index.ts'
import { Model } from '../src/model/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string', short: 'o' },
    stories: { type: 'string', default: '20000' },
    rows: { type: 'string', default: '128' },
    threads: { type: 'string', default: '1' },
  },
})
const separator = '<|endoftext|>\n'
const file = values.out!
const rows = Number(values.rows)

using engine = new Engine(nodeRuntime({ threads: Number(values.threads) }))
const model = Model.open(positionals[0]!, engine)

let written = existsSync(file) ? readFileSync(file, 'utf8').split(separator).length - 1 : 0
if (written % rows !== 0)
  throw new Error(`${file}: ${written} stories are no multiple of ${rows}: it is of a run with other --rows`)
while (written < Number(values.stories)) {
  const since = performance.now()
  // llama2.c's models were trained on documents that begin, and do not end, with the begin token.
  const drawn = await complete(model, [''], {
    samples: rows,
    maxTokens: model.context - 1,
    temperature: 1,
    seed: written / rows,
    stopTokens: [model.tokenizer!.bos!],
  })
  appendFileSync(file, drawn.map(({ text }) => `${text.trim()}\n${separator}`).join(''))
  written += rows
  const tokens = drawn.reduce((sum, one) => sum + one.tokens.length, 0)
  const rate = Math.round((1000 * tokens) / (performance.now() - since))
  process.stderr.write(`${written} stories, ${rate} tokens/s\n`)
}
