/** `glossa steer sweep`. */
import type { WeightFormat } from '../../model/index.ts'
import { NaiveBayes, wordsOf } from '../../ngram/index.ts'
import { lines } from '../../plot/index.ts'
import { openSteer, sweep } from '../../steer/index.ts'
import { openModel } from '../common.ts'
import { checkPicture, writePicture } from '../picture.ts'
import { interruptible, note, Progress, print, printable, printJson, short, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'
import { textsOf } from './fit.ts'

export interface SweepSettings {
  readonly model: string
  readonly weights: WeightFormat
  readonly context?: number | undefined
  readonly device: string
  readonly threads?: number | undefined
  readonly file: string
  readonly method: string
  readonly positive?: string | undefined
  readonly negative?: string | undefined
  readonly words?: string | undefined
  readonly strengths?: readonly number[] | undefined
  readonly prompt: readonly string[]
  readonly samples?: number | undefined
  readonly maxTokens?: number | undefined
  readonly temperature?: number | undefined
  readonly seed?: number | undefined
  readonly output?: string | undefined
  readonly json: boolean
}

/** Whether a text is a hit: by a classifier of two files, or by words. */
function targetOf({ positive, negative, words }: SweepSettings): (text: string) => boolean {
  if (words !== undefined) {
    if (positive !== undefined || negative !== undefined)
      throw new UsageError('--words and --positive, --negative exclude each other')
    const listed = new Set(textsOf(words).flatMap(wordsOf))
    return (text) => wordsOf(text).some((word) => listed.has(word))
  }
  if (positive === undefined || negative === undefined)
    throw new UsageError(
      'give --words, or --positive and --negative: sweep measures how often a text is a hit',
    )
  const classifier = new NaiveBayes(textsOf(positive), textsOf(negative))
  return (text) => classifier.score(text) > 0
}

export async function runSweep(settings: SweepSettings): Promise<number> {
  const {
    file,
    method,
    prompt: prompts,
    output,
    json,
    model: name,
    weights,
    context,
    device,
    threads,
  } = settings
  checkPicture(output, '--output')
  const isTarget = targetOf(settings)
  // Sealed with the steer, so that strengths are exchanged on any weights.
  await using opened = await openModel({
    ...{ model: name, weights, context, device, threads, with: [`${method}:file=${file},strength=1`] },
  })
  const { model } = opened
  const { strengths = [-2, -1, 0, 1, 2], samples = 8, maxTokens = 40, temperature = 1, seed = 0 } = settings
  const progress = new Progress('strength', strengths.length)
  return await interruptible(async (signal) => {
    const rows = await sweep(model, openSteer(file, model), {
      ...{ strengths, prompts, isTarget, signal },
      generate: { samples, maxTokens, temperature, seed },
      onProgress: (done) => progress.update(done),
    })
    if (output !== undefined)
      await writePicture(
        output,
        lines(
          [{ name: 'target', points: rows.map(({ strength, target }) => ({ x: strength, y: target })) }],
          {
            title: `${file} on ${name}`,
            x: 'strength',
            y: 'share of continuations that are a hit',
          },
        ),
      )
    if (json) {
      printJson({
        rows,
        texts: prompts.length * samples,
        weights,
        seed,
        ...(output !== undefined && { plot: output }),
      })
      return 0
    }
    print(
      table(
        [
          ['strength', 'target', 'perplexity', 'distinct-2', 'repetition-4'],
          ...rows.map(({ strength, target, perplexity, distinct2, repetition4 }) => [
            `${strength}`,
            target.toFixed(3),
            short(perplexity),
            distinct2.toFixed(3),
            repetition4.toFixed(3),
          ]),
        ],
        [0, 1, 2, 3, 4],
      ),
    )
    const [low, high] = [rows[0]!, rows.at(-1)!]
    for (const { strength, example } of low === high ? [low] : [low, high])
      print(`\n${strength}: ${printable(prompts[0]! + example)}\n`)
    if (output !== undefined) note(`wrote ${output}`)
    return 0
  })
}
