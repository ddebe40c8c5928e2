/** `glossa layers law` (paper 106). */
import { nextTokenLaw } from '../../interp/index.ts'
import { lines } from '../../plot/index.ts'
import { type ModelSettings, openModel } from '../common.ts'
import { corpusTokens } from '../corpusTokens.ts'
import { writePicture } from '../picture.ts'
import { dim, interruptible, Progress, print, printJson, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'

export interface LawSettings extends ModelSettings {
  readonly fit: string
  readonly fitTokens: number
  readonly plot: string | undefined
  readonly json: boolean
}

/** Tokens of a row; each but the last is an observation. */
const length = 128

export async function showLaw({ fit, fitTokens, plot, json, ...settings }: LawSettings): Promise<number> {
  await using opened = await openModel(settings)
  const { model } = opened
  const found = await interruptible(async (signal) => {
    const text = await corpusTokens(model, fit, 2 * fitTokens, signal)
    const size = Math.min(length, model.context)
    const rows = Array.from({ length: Math.floor(text.length / size) }, (_, i) => [
      ...text.subarray(i * size, (i + 1) * size),
    ])
    const half = Math.floor(rows.length / 2)
    const { layers, width } = model.spec
    if (half * (size - 1) <= 2 * width)
      throw new UsageError(
        `--fit ${fit}: ${text.length} tokens are too few: a fit of width ${width} needs ${4 * width} at least, and better 40,000`,
      )
    if (layers < 3) throw new UsageError(`the law needs three layers or more; the model has ${layers}`)
    const progress = new Progress('reading token', 2 * half * (size - 1))
    let before = 0
    let last = 0
    return nextTokenLaw(model, rows.slice(0, half), {
      heldOut: rows.slice(half, 2 * half),
      signal,
      onProgress: (tokens) => {
        if (tokens < last) before += last
        last = tokens
        progress.update(before + tokens)
      },
    })
  })
  const held = found.heldOut!
  const series = [
    { name: 'fitted on', points: found.residuals.map((y, i) => ({ x: i + 1, y })) },
    { name: 'held out', points: held.residuals.map((y, i) => ({ x: i + 1, y })) },
  ]
  const title = 'What each layer leaves unpredicted of the next token'
  if (plot !== undefined)
    await writePicture(plot, lines(series, { title, x: 'layer', y: 'residual', logY: true }))
  if (json) printJson(found)
  else {
    const rows = found.residuals.map((value, i) => [
      `${i + 1}`,
      value.toFixed(4),
      held.residuals[i]!.toFixed(4),
    ])
    print(`${title}\n\n`)
    print(
      table(
        [
          ['layer', `${found.tokens.toLocaleString('en-US')} tokens`, 'held out'],
          ...rows.toReversed(),
          ['correlation', found.correlation.toFixed(3), held.correlation.toFixed(3)],
          ['decay of a layer', found.decay.toFixed(4), held.decay.toFixed(4)],
        ],
        [1, 2],
      ),
    )
    if (plot !== undefined) print(dim(`wrote ${plot}\n`))
  }
  return 0
}
