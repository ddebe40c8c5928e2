/** Vocabularies of BPE against those of a unigram model: morphemes, statistics, language models (Bostrom and Durrett 2020). */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { scoreBatch } from '../../decode/score.ts'
import { Model } from '../../model/index.ts'
import { type Tokenizer, TokenizerMeter, tokenizerFromHuggingFace } from '../../text/index.ts'
import { trainBpe, trainUnigram } from '../../text/train/index.ts'
import { openText } from '../../train/data/text.ts'
import { tokenizeCorpus } from '../../train/data/tokenize.ts'
import { type ExperimentContext, experiment, type Metrics, type Rows } from '../experiment.ts'
import { boundaryScores, pronunciations, segment } from '../morphemes.ts'
import { smallConfig, storyFiles, trainSmall } from '../small.ts'

const vocabSize = 1024
/** Of which the vocabularies alone are measured. */
const larger = 4096
const learnedBytes = 1_000_000
const heldOutBytes = 100_000
const pairsEach = 100
const paradigms = [
  'determiner_noun_agreement_1',
  'determiner_noun_agreement_with_adjective_1',
  'anaphor_number_agreement',
  'irregular_past_participle_verbs',
]
const end = '<|endoftext|>'
export const arms = { bpe: 'BPE', unigram: 'unigram' } as const
export const largerArms = { bpe: `BPE, ${larger} tokens`, unigram: `unigram, ${larger} tokens` } as const

const train = {
  bpe: (texts: readonly string[], vocabSize: number) =>
    trainBpe(texts, { vocabSize, specialTokens: [end], end }),
  unigram: (texts: readonly string[], vocabSize: number) =>
    trainUnigram(texts, { vocabSize, specialTokens: ['<unk>', end], end, seedSize: 50_000 }),
}

interface Texts {
  readonly learned: string[]
  readonly heldOut: string[]
}

/** Another part of the corpus for each seed; texts held out are those right behind it. */
async function textsOf(context: ExperimentContext, seed: number): Promise<Texts> {
  const rows = await openText(context.data(storyFiles[0]))
  const texts: Texts = { learned: [], heldOut: [] }
  let bytes = 0
  for (let i = Math.floor((seed * rows.length) / 5); bytes < learnedBytes + heldOutBytes; i++) {
    const { text } = (await rows.at(i % rows.length)) as { text: string }
    texts[bytes < learnedBytes ? 'learned' : 'heldOut'].push(text)
    bytes += Buffer.byteLength(text)
  }
  return texts
}

interface Vocabulary {
  readonly tokenizer: Tokenizer
  readonly learned: Int32Array | Uint16Array
  readonly metrics: Metrics
}

async function vocabularyOf(
  context: ExperimentContext,
  kind: keyof typeof train,
  { learned, heldOut }: Texts,
  size: number,
): Promise<Vocabulary> {
  const tokenizer = tokenizerFromHuggingFace({
    tokenizer: { json: train[kind](learned, size), file: `${kind}.json` },
    config: { json: { eos_token: end }, file: 'tokenizer_config.json' },
  })
  const words = new Set(
    learned
      .join('\n')
      .toLowerCase()
      .match(/[a-z]+/g),
  )
  const dictionary = gunzipSync(readFileSync(context.data('data/cmudict/cmudict.dict.gz'))).toString('utf8')
  const gold = segment(words, pronunciations(dictionary))
  const { f1, precision, recall } = boundaryScores(tokenizer, gold)
  const meter = new TokenizerMeter(tokenizer)
  for (const text of heldOut) meter.add(text)
  const { bytesPerToken, fertility } = meter.result
  const tokens = await encode(tokenizer, learned)
  const counts = new Int32Array(tokenizer.vocabSize)
  for (const token of tokens) counts[token]!++
  const deadZone = counts.reduce((dead, count) => dead + Number(count < 10), 0) / tokenizer.vocabSize
  const metrics = { f1, precision, recall, words: gold.size, bytesPerToken, fertility, deadZone }
  return { tokenizer, learned: tokens, metrics }
}

async function encode(tokenizer: Tokenizer, texts: readonly string[]): Promise<Int32Array | Uint16Array> {
  const rows = { length: texts.length, at: (i: number) => texts[i] }
  return (await tokenizeCorpus(rows, tokenizer, { endOfText: tokenizer.eos! })).tokens
}

/** A model that has read every text once, however many tokens it is: equal bytes, other numbers of steps. */
async function modelOf(
  context: ExperimentContext,
  { tokenizer, learned }: Vocabulary,
  texts: readonly string[],
  seed: number,
): Promise<Metrics> {
  const heldOut = await encode(tokenizer, texts)
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  const steps = Math.floor(learned.length / (16 * 128))
  const { spec, params, heldOutLoss } = await trainSmall(context, {
    corpus: { tokenizer, learned, heldOut, bytesPerToken: bytes / heldOut.length },
    seed,
    steps,
    config: smallConfig(tokenizer.vocabSize, {
      ...{ hidden_size: 64, intermediate_size: 172, num_hidden_layers: 2 },
      ...{ num_attention_heads: 2, num_key_value_heads: 2 },
    }),
  })
  const model = new Model({ engine: context.engine, spec, params, tokenizer })
  return {
    bitsPerByte: (heldOutLoss * heldOut.length) / Math.LN2 / bytes,
    blimp: await blimp(context, model, tokenizer),
    steps,
  }
}

/** Share of pairs whose good sentence is more likely, behind the end of a text. */
async function blimp(context: ExperimentContext, model: Model, tokenizer: Tokenizer): Promise<number> {
  let [right, all] = [0, 0]
  for (const paradigm of paradigms) {
    const text = gunzipSync(readFileSync(context.data(`data/blimp/${paradigm}.jsonl.gz`))).toString('utf8')
    const pairs = text
      .trim()
      .split('\n')
      .slice(0, pairsEach)
      .map((line) => JSON.parse(line) as { sentence_good: string; sentence_bad: string })
    const likelihoods = async (sentences: readonly string[]) => {
      const rows = sentences.map((sentence) => [
        tokenizer.eos!,
        ...tokenizer.encode(sentence, { addSpecialTokens: false }).ids,
      ])
      return (await scoreBatch(model, rows)).map((scores) => scores.reduce((a, b) => a + b, 0))
    }
    const good = await likelihoods(pairs.map((pair) => pair.sentence_good))
    const bad = await likelihoods(pairs.map((pair) => pair.sentence_bad))
    for (const [i, value] of good.entries()) right += Number(value > bad[i]!)
    all += pairs.length
  }
  return right / all
}

export function judge(rows: Rows) {
  const show = ({ mean, half }: { mean: number; half: number }) =>
    `${mean > 0 ? '+' : ''}${mean.toFixed(4)} ± ${half.toFixed(4)}`
  const difference = (metric: string) => rows.difference(arms.unigram, arms.bpe, metric)
  const more = rows.difference(largerArms.unigram, largerArms.bpe, 'f1')
  const parts = ['precision', 'recall'].map((metric) => `${metric} ${show(difference(metric))}`)
  const [f1, accuracy, bits] = [difference('f1'), difference('blimp'), difference('bitsPerByte')]
  const aligned = f1.mean - f1.half > 0
  const asGood = accuracy.mean >= -0.01
  const asSmall = bits.mean <= 0.005 * rows.mean(arms.bpe, 'bitsPerByte')
  return {
    verdict: !aligned ? 'not at this scale' : asGood && asSmall ? 'reproduced' : 'partly',
    reason:
      `unigram minus BPE: boundary F1 ${show(f1)} (above 0: ${aligned ? 'yes' : 'no'}), of ${parts.join(' and ')}; with ${larger} tokens F1 ${show(more)} (not judged); ` +
      `BLiMP accuracy ${show(accuracy)} (no more than 0.01 below: ${asGood ? 'yes' : 'no'}); ` +
      `bits per byte ${show(bits)} (no more than 0.5 % above: ${asSmall ? 'yes' : 'no'})`,
  } as const
}

export default experiment({
  id: 'bpe-unigram',
  paper: 185,
  title: 'Vocabularies of BPE and of a unigram model',
  claim:
    'A unigram vocabulary cuts words more like morphology does than BPE of the same size, and models that are trained on it are no worse.',
  setting: `Vocabularies of ${vocabSize} from ${learnedBytes / 1e6} MB of TinyStories, another part for each seed; causal models read these texts once (equal bytes, so that the arm with more tokens takes more steps). Boundaries against cuts that rules find in the words of the corpus, checked by CMUdict (experiments/morphemes.ts: no gold set, only where spelling is left alone, words with a cut alone). Bits per byte on ${heldOutBytes / 1e6} MB held out; BLiMP: the first ${pairsEach} pairs of ${paradigms.length} paradigms, by likelihood, without fine-tuning. deadZone: share of the vocabulary that the texts use fewer than 10 times. Half a minute of one core a seed. Of vocabularies of ${larger} tokens, which were added when the others were known, boundaries and statistics alone. Both vocabularies hold 256 tokens for bytes; a unigram model has single characters beside them, which leaves it some 80 tokens fewer for longer pieces. The paper has vocabularies of 20,000, masked models of 110M parameters, fine-tuning, CELEX, and Japanese too.`,
  model: 'Llama of 0.16M parameters (2 layers, 64 wide)',
  data: 'TinyStories (data/tinystories-val-part), CMUdict, BLiMP',
  baseline: arms.bpe,
  metrics: {
    f1: { better: 'higher' },
    bitsPerByte: { better: 'lower', unit: 'bits' },
    blimp: { better: 'higher' },
    deadZone: { better: 'lower' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    for (const seed of context.seeds) {
      let texts: Texts | undefined
      for (const kind of ['bpe', 'unigram'] as const) {
        await context.arm(arms[kind], seed, async () => {
          texts ??= await textsOf(context, seed)
          const vocabulary = await vocabularyOf(context, kind, texts, vocabSize)
          const model = await modelOf(context, vocabulary, texts.heldOut, seed)
          return { ...vocabulary.metrics, ...model }
        })
        await context.arm(largerArms[kind], seed, async () => {
          texts ??= await textsOf(context, seed)
          return (await vocabularyOf(context, kind, texts, larger)).metrics
        })
      }
    }
  },
  judge,
})
