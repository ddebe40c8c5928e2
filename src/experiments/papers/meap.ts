/**
 * MEAP (paper 179): does hiding input tokens in training make a model better at finding a fact in its context?
 *
 * A quarter of the training rows are windows of TinyStories, the others hold facts between the sentences of a story,
 * `NAME WORD.`, which are repeated at the end, some of them several times. Names and words are paired anew in every row: the
 * words at the end can only be found in the context.
 */
import { random, type Tensor, tensor } from '../../array/index.ts'
import { forward } from '../../model/decoder.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Tokenizer } from '../../text/index.ts'
import { type Batches, meap, nextToken, PackedBatches, type TokenBatch } from '../../train/index.ts'
import { type ExperimentContext, experiment } from '../experiment.ts'
import { type Corpus, once, smallConfig, stories, storyFiles, trainSmall } from '../small.ts'

const length = 64
const batch = 16
/** Rows of a batch without facts. */
const plainRows = batch / 4
const steps = 1200
const share = 0.15
/** Facts that a training row has again at its end, drawn with repetition. */
const questions = 10
/** How many facts a row has; all but one are distractors. */
const counts = [2, 4, 6] as const
const rowsEach = 240

const names = ['Tim', 'Lily', 'Tom', 'Ben', 'Max', 'Sam', 'Mia', 'Anna', 'Jack', 'Sara', 'Lucy', 'Bob']
const words = [
  'dog',
  'cat',
  'ball',
  'car',
  'tree',
  'box',
  'bird',
  'park',
  'fish',
  'house',
  'bear',
  'toy',
  'day',
]

/** Tokens of one row: its facts between sentences, then some of them again, the last without its stop. */
interface FactRow {
  /** length + 1 tokens. */
  readonly tokens: Int32Array
  /** Where the word of the last fact stands. */
  readonly answer: number
  /** Where the fact that is asked for begins, as a share of the row. */
  readonly depth: number
}

class Facts {
  readonly #prefix: ReadonlyMap<string, readonly number[]>
  readonly #word: ReadonlyMap<string, number>
  readonly #stop: number
  readonly #names: readonly string[]
  readonly #words: readonly string[]

  constructor(tokenizer: Tokenizer) {
    const encode = (text: string): number[] => [...tokenizer.encode(text, { addSpecialTokens: false }).ids]
    const found = words.map((word) => [word, encode(` ${word}`)] as const)
    // Words of one token: the answer is one prediction.
    const single = found.filter(([, ids]) => ids.length === 1)
    this.#word = new Map(single.map(([word, ids]) => [word, ids.at(-1)!]))
    this.#words = single.map(([word]) => word)
    this.#prefix = new Map(names.map((name) => [name, encode(` ${name}`)]))
    this.#names = names
    this.#stop = encode('is.').at(-1)!
    if (this.#words.length < 8)
      throw new Error('meap: the tokenizer has too few of the words as single tokens')
  }

  /** A row of `length` + 1 tokens with `count` facts in a stretch of a story, `asked` of them again at the end. */
  row(story: Corpus['learned'], count: number, asked: number, seed: number): FactRow {
    const uniform = random.generator(seed)
    const pick = (below: number): number => Math.floor(uniform() * below)
    const draw = (list: readonly string[], n: number): string[] => {
      const left = [...list]
      return Array.from({ length: n }, () => left.splice(pick(left.length), 1)[0]!)
    }
    const chosen = draw(this.#names, count)
    const facts = draw(this.#words, count).map((word, i) => [
      ...this.#prefix.get(chosen[i]!)!,
      this.#word.get(word)!,
      this.#stop,
    ])
    const again = Array.from({ length: asked }, () => pick(count))
    const last = again.at(-1)!
    const repeated = again.flatMap((i) => facts[i]!).slice(0, -1)
    const room = length + 1 - facts.reduce((sum, fact) => sum + fact.length, 0) - repeated.length
    const start = pick(story.length - room)
    const filler = [...story.subarray(start, start + room)]
    const ends = filler.flatMap((token, i) => (token === this.#stop ? [i + 1] : []))
    const places = facts.map(() => (ends.length > 0 ? ends[pick(ends.length)]! : 0)).sort((a, b) => a - b)
    const tokens: number[] = []
    let depth = 0
    let taken = 0
    facts.forEach((fact, i) => {
      tokens.push(...filler.slice(taken, places[i]))
      taken = places[i]!
      if (i === last) depth = tokens.length / (length + 1)
      tokens.push(...fact)
    })
    tokens.push(...filler.slice(taken), ...repeated)
    return { tokens: Int32Array.from(tokens), answer: length, depth }
  }
}

/** Three rows of four have facts, 2 to 6 of them, and questions at the end. */
function mixed(corpus: Corpus, facts: Facts, seed: number): Batches<TokenBatch> {
  const plain = new PackedBatches({ sources: [{ tokens: corpus.learned }], batch: plainRows, length, seed })
  return {
    at(index) {
      const data = new Int32Array(batch * (length + 1))
      data.set(plain.at(index).tokens.data as Int32Array)
      for (let i = plainRows; i < batch; i++) {
        const key = random.fold(random.fold(seed, 0x666163), index * batch + i)
        const count = 2 + (random.fold(key, 1) % 5)
        data.set(facts.row(corpus.learned, count, questions, key).tokens, i * (length + 1))
      }
      return { tokens: tensor(data, [batch, length + 1]) }
    },
  }
}

/** Share of held-out rows whose last word is the most likely one, by number of facts and by depth. */
async function retrieval(
  { engine }: ExperimentContext,
  spec: DecoderSpec,
  params: DecoderParams,
  corpus: Corpus,
  facts: Facts,
): Promise<Record<string, number>> {
  const rotary = rotaryTables(spec)
  using predict = engine.jit(
    (parts: DecoderParams, tokens: Tensor, at: Tensor) =>
      forward(spec, parts, { tokens, at }, rotary, new Taps(spec)).logits.argMax(-1),
    { name: 'retrieval' },
  )
  const hits: Record<string, number[]> = {}
  const at = tensor(new Int32Array(batch).fill(length - 1), [batch])
  for (const count of counts)
    for (let first = 0; first < rowsEach; first += batch) {
      const rows = Array.from({ length: batch }, (_, i) =>
        facts.row(corpus.heldOut, count, 1, random.fold(count, first + i)),
      )
      const data = Int32Array.from(rows.flatMap(({ tokens, answer }) => [...tokens.subarray(0, answer)]))
      const found = await predict(params, tensor(data, [batch, length]), at)
      const guesses = await found.load()
      rows.forEach(({ tokens, answer, depth }, i) => {
        const hit = Number(Number(guesses[i]) === tokens[answer])
        const third = depth < 1 / 3 ? 'begin' : depth < 2 / 3 ? 'middle' : 'end'
        for (const name of ['accuracy', `accuracy ${count} facts`, `accuracy ${third}`]) {
          hits[name] = [...(hits[name] ?? []), hit]
        }
      })
    }
  return Object.fromEntries(
    Object.entries(hits).map(([name, all]) => [name, all.reduce((a, b) => a + b, 0) / all.length]),
  )
}

export default experiment({
  id: 'meap',
  paper: 179,
  title: 'MEAP: hidden input tokens and key-value retrieval',
  claim:
    'Hiding about 15 % of the input tokens in next-token training makes a model much better at finding key information in its context, at the same cost and with about the same language modelling.',
  setting: `From scratch, ${steps} steps of ${batch} rows of ${length} tokens, a quarter TinyStories, the others with 2 to 6 facts (Lily ball.) among story sentences and ${questions} of them again at the end. Retrieval: the word of a fact repeated at the end of a held-out row, ${rowsEach} rows for each number of facts, most likely token of the whole vocabulary. The paper trains 1.1B parameters on up to 200B tokens and asks for needles in 64K tokens. That words belong to names is learned suddenly, at a step that differs by seed: at one length of training three seeds say little. All arms together take about 5 minutes on one core.`,
  model: 'Llama, 3 layers of width 64, 0.2M parameters, with a mask token',
  data: 'TinyStories (2,500 stories, tokenizer of 1024), facts made up',
  baseline: 'next-token',
  metrics: {
    accuracy: { better: 'higher' },
    loss: { better: 'lower', unit: 'nats a token' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const open = once(() => stories(context, undefined, [storyFiles[0]], 2500))
    for (const seed of context.seeds)
      for (const arm of ['next-token', 'meap'] as const)
        await context.arm(arm, seed, async () => {
          const corpus = await open()
          const facts = new Facts(corpus.tokenizer)
          // One token more than the tokenizer has, in both arms: the mask.
          const maskToken = corpus.tokenizer.vocabSize
          const { spec, params, heldOutLoss } = await trainSmall(context, {
            corpus,
            seed,
            steps,
            batch,
            length,
            config: smallConfig(maskToken + 1, {
              hidden_size: 64,
              intermediate_size: 172,
              num_hidden_layers: 3,
            }),
            objective: (spec) => (arm === 'meap' ? meap(spec, { share, maskToken }) : nextToken(spec)),
            batches: mixed(corpus, facts, seed),
          })
          return { ...(await retrieval(context, spec, params, corpus, facts)), loss: heldOutLoss }
        })
  },
  judge(rows) {
    // Any word of the row: what a model gives that knows words from names, but not which belong together.
    const chance = counts.reduce((sum, count) => sum + 1 / count, 0) / counts.length
    const learned =
      Math.max(rows.mean('meap', 'accuracy'), rows.mean('next-token', 'accuracy')) > chance + 0.1
    const gain = rows.difference('meap', 'next-token', 'accuracy')
    const cost = rows.difference('meap', 'next-token', 'loss')
    const better = learned && gain.mean > 0.05 && gain.mean > gain.half
    const kept = cost.mean < 0.05
    return {
      verdict:
        better && kept
          ? 'reproduced'
          : better || (learned && gain.mean > 0 && kept)
            ? 'partly'
            : 'not at this scale',
      reason: `Accuracy ${(100 * rows.mean('meap', 'accuracy')).toFixed(1)} % with hidden tokens, ${(100 * rows.mean('next-token', 'accuracy')).toFixed(1)} % without: ${(100 * gain.mean).toFixed(1)} ± ${(100 * gain.half).toFixed(1)} points (95 % interval of ${rows.at('meap', 'accuracy').n} seeds); held-out loss ${cost.mean >= 0 ? '+' : ''}${cost.mean.toFixed(3)} ± ${cost.half.toFixed(3)} nats. Asked for: more than 5 points beyond the interval, and less than 0.05 nats lost. 'Partly' is one without the other, or a gain within the interval. ${learned ? '' : `Neither binds words to names: any word of the row is right for ${(100 * chance).toFixed(0)} %.`}`,
    }
  },
})
