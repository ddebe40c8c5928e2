/** The text of a model card. */
import type { DecoderSpec } from '../../src/model/index.ts'
import type { DataSet } from './data.ts'

export interface Score {
  readonly corpus: string
  readonly documents: number
  readonly bitsPerByte: number
  readonly standardError: number | null
}

export interface Card {
  readonly name: string
  readonly parameters: number
  readonly spec: DecoderSpec
  readonly stages: readonly { file: string; description: string; tokens: number; text: string }[]
  readonly sources: readonly { name: string; weight: number; heldOut: number; files: readonly DataSet[] }[]
  /** Tokens, over all stages. */
  readonly seen: number
  readonly scores: readonly { name: string; scores: readonly Score[] }[]
  /** Million tokens, nats a token and bits per byte of the held-out stories on the way. */
  readonly measured: readonly { x: number; y: number; bits: number }[]
  readonly samples: readonly string[]
  /** What else a reader should know. */
  readonly notes: readonly string[]
}

const millions = (count: number, digits = 2): string => `${(count / 1e6).toFixed(digits)}M`
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

/** One row for each data set, however many files it has. */
const dataSets = (files: readonly DataSet[]): DataSet[] => [...new Set(files)]

export function modelCard(card: Card): string {
  const { name, parameters, spec, stages, sources, scores, measured, samples } = card
  const { attention } = spec
  const shape = [
    `${spec.layers} layers`,
    `width ${spec.width}`,
    ...(attention ? [`${attention.heads} heads (${attention.keyValueHeads} for keys and values)`] : []),
    `${spec.vocab} tokens`,
    `${spec.context} positions`,
  ]
  const corpora = scores[0]!.scores
  return `# ${name}

A Llama of ${millions(parameters)} parameters that writes simple English stories, trained from scratch by this repository on
${millions(card.seen, 1)} tokens of stories and children's literature.

| | |
| --- | --- |
| shape | ${shape.join(', ')}; f16 weights, tied embedding |
| tokenizer | byte-level BPE of ${spec.vocab} tokens, \`scripts/train-tokenizer.sh\` |
| licence of the weights | MIT, as the repository; the data below has its own |

## How it was trained

${stages.map(({ file, description, text, tokens }, i) => `${i + 1}. \`glossa train ${file}\`: ${text}; ${millions(tokens, 1)} tokens. ${description}`).join('\n')}
${card.notes.length > 0 ? `\n${card.notes.join(' ')}\n` : ''}
![loss](loss.svg)

| million tokens | held-out stories, nats a token | bits per byte |
| ---: | ---: | ---: |
${thinned(measured, 16)
  .map(({ x, y, bits }) => row([x.toFixed(1), y.toFixed(3), bits.toFixed(3)]))
  .join('\n')}

These are measured in packed windows on the way; the table below has whole documents.

## How good it is

Bits per byte of whole documents that were never trained on, each read from its beginning (\`glossa score -m ${name}
--documents FILE --held-out SHARE\`); ± is the standard error over documents. Lower is better.

${row(['', ...corpora.map(({ corpus, documents }) => `${corpus} (${documents})`)])}
${row(['---', ...corpora.map(() => '---:')])}
${scores.map((model) => row([model.name, ...model.scores.map(({ bitsPerByte, standardError }) => bitsPerByte.toFixed(3) + (standardError === null ? '' : ` ± ${standardError.toFixed(3)}`))])).join('\n')}

${sources
  .filter(({ heldOut }) => heldOut > 0)
  .map(
    ({ name: source, heldOut }) => `*${source}*: the last ${100 * heldOut} % of the documents of each file.`,
  )
  .join(' ')} Chapters that are held out are of books whose other
chapters were learned. *another collection*: 28 fairy tales of a file that was not trained on at all. An n-gram model has
learned the documents of the same kind.

## What it has learned from

| data | licence | share of the windows |
| --- | --- | ---: |
${sources
  .flatMap(({ name: source, weight, files }) =>
    dataSets(files).map(({ title, licence }, i) =>
      row([title, licence, i === 0 ? `${source}: ${Math.round(100 * weight)} %` : '']),
    ),
  )
  .join('\n')}

## What it is not

It tells stories and knows nothing: names, facts and numbers are made up, and longer stories lose their thread. The
older books bring the attitudes of their time with them. It is a model to look into, to steer and to test methods on.

## Samples

Temperature 0.8, seeds 1 to 5, "Once upon a time", not chosen.

${samples.map((text, i) => `**Seed ${i + 1}.** ${text.replace(/\s*\n\s*/g, ' ')}`).join('\n\n')}
`
}

/** At most this many of the measurements, the last one among them. */
function thinned<T>(all: readonly T[], most: number): T[] {
  const every = Math.ceil(all.length / most)
  return all.filter((_, i) => (all.length - 1 - i) % every === 0)
}
