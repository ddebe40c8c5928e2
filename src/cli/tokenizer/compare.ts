/** `glossa tokenizer compare`: how well vocabularies fit a text. */
import { readGgufMetadata } from '../../store/index.ts'
import { loadTokenizer, type Tokenizer, TokenizerMeter, tokenizerFromGguf } from '../../text/index.ts'
import { locateModel } from '../hub.ts'
import { print, printJson, short, table } from '../terminal.ts'
import { TransferBar } from '../transferBar.ts'
import { corpus, corpusBytes } from './corpus.ts'

export interface CompareSettings {
  readonly models: readonly string[]
  readonly textFile: string
  readonly field: string
  readonly json: boolean
}

export async function compare({ models, textFile, field, json }: CompareSettings): Promise<void> {
  const total = corpusBytes([textFile])
  const meters: [name: string, meter: TokenizerMeter][] = []
  for (const name of models) meters.push([name, new TokenizerMeter(await openTokenizer(name))])
  const bar = new TransferBar('reading')
  let size = 0
  for await (const text of corpus([textFile], { field, onRead: (done) => bar.update(done, total) })) {
    size += Buffer.byteLength(text)
    for (const [, meter] of meters) meter.add(text)
  }
  if (size === 0) throw new Error(`${textFile}: no text`)
  const results = meters.map(([model, meter]) => ({ model, ...meter.result }))
  if (json) return printJson({ bytes: size, tokenizers: results })
  const percent = (share: number): string => (Number.isNaN(share) ? '-' : `${short(100 * share)} %`)
  const number = (value: number): string => (Number.isNaN(value) ? '-' : short(value))
  const head = ['', 'vocabulary', 'tokens', 'bytes/token', 'tokens/word', 'whole', 'unknown', 'Rényi', 'used']
  const rows = results.map((row) => [
    row.model,
    `${row.vocabSize}`,
    `${row.tokens}`,
    number(row.bytesPerToken),
    number(row.fertility),
    percent(row.wholeWords),
    percent(row.unknown),
    number(row.renyiEfficiency),
    percent(row.vocabularyUse),
  ])
  print(table([head, ...rows], [1, 2, 3, 4, 5, 6, 7, 8]))
}

async function openTokenizer(name: string): Promise<Tokenizer> {
  const path = await locateModel(name)
  return path.endsWith('.gguf') ? tokenizerFromGguf(readGgufMetadata(path), path) : loadTokenizer(path)
}
