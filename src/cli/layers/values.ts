/** `glossa layers values` (paper 268). */
import { conceptTokens, type ValueVector, ValueVectors } from '../../interp/index.ts'
import type { Model } from '../../model/index.ts'
import { heatmap } from '../../plot/index.ts'
import { type ModelSettings, openModel, type ReadSettings, readIds } from '../common.ts'
import { type Grid, gridText } from '../grid.ts'
import { writePicture } from '../picture.ts'
import { dim, print, printJson, short, table } from '../terminal.ts'
import { tokensText, tokenText } from '../tokens.ts'
import { UsageError } from '../verb.ts'
import { shares } from './gradient.ts'

interface Shown {
  readonly top: number
  readonly plot: string | undefined
  readonly json: boolean
}
export interface ValuesSettings extends ReadSettings, Shown {}
export interface PromotingSettings extends ModelSettings, Shown {
  readonly words: readonly string[]
}

/** A value vector at a place of a text, with how much it counts there. */
interface Place extends ValueVector {
  readonly position: number
  readonly coefficient: number
  /** |coefficient| times the length of the vector. */
  readonly weight: number
  readonly tokens: readonly { readonly token: number; readonly score: number }[]
}

/** The dominant sub-update of each layer at each token. */
export async function showValues({ top, plot, json, ...settings }: ValuesSettings): Promise<number> {
  await using opened = await openModel(settings)
  const { model } = opened
  const ids = readIds(model, settings)
  using values = new ValueVectors(model, 1)
  const { dominant, coefficients } = await values.read([ids])
  const places: Place[] = []
  for (let layer = 0; layer < model.spec.layers; layer++) {
    const vectors = await values.vectors(layer)
    const width = vectors.sizes[1]!
    for (const position of ids.keys()) {
      const at = layer * ids.length + position
      const [index, coefficient] = [Number(dominant.data[at]), Number(coefficients.data[at])]
      const vector = (vectors.data as Float32Array).subarray(index * width, (index + 1) * width)
      const one: ValueVector = { layer, index, sign: coefficient < 0 ? -1 : 1 }
      const weight = Math.abs(coefficient) * Math.hypot(...vector)
      places.push({ ...one, position, coefficient, weight, tokens: await values.promoted(one, top) })
    }
  }
  const grid = gridOf(model, ids, places)
  const title = 'What the dominant value vector of each layer promotes'
  if (plot !== undefined) await writePicture(plot, heatmap({ ...grid, title }))
  if (json) printJson({ tokens: ids, places })
  else {
    const last = places.filter(({ position }) => position === ids.length - 1).toReversed()
    const rows = last.map(({ layer, index, coefficient, tokens }) => [
      `${layer}.${index}`,
      short(coefficient),
      listed(model, tokens),
    ])
    print(`${title}\n\n${gridText(grid)}\n`)
    print(table([['at the last token', 'coefficient', 'promotes'], ...rows], [1]))
    if (plot !== undefined) print(dim(`wrote ${plot}\n`))
  }
  return 0
}

/** The value vectors that promote words most. */
export async function showPromoting(settings: PromotingSettings): Promise<number> {
  const { words, top, plot, json } = settings
  if (plot !== undefined) throw new UsageError('--plot is for a text: a list of value vectors has no picture')
  await using opened = await openModel(settings)
  const { model } = opened
  if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer, which --words needs`)
  using values = new ValueVectors(model)
  const chosen = await values.promoting(conceptTokens(model.tokenizer, words), 10)
  const vectors = []
  for (const one of chosen) vectors.push({ ...one, tokens: await values.promoted(one, top) })
  if (json) printJson({ vectors })
  else
    print(
      table(
        [
          ['layer', 'index', 'sign', 'deviations', 'promotes'],
          ...vectors.map(({ layer, index, sign, score, tokens }) => [
            ...[layer, index, sign].map(String),
            score.toFixed(2),
            listed(model, tokens),
          ]),
        ],
        [0, 1, 2, 3],
      ),
    )
  return 0
}

const listed = (model: Model, tokens: Place['tokens']): string =>
  tokensText(
    model,
    tokens.map(({ token }) => token),
  )

function gridOf({ spec, tokenizer }: Model, ids: readonly number[], places: readonly Place[]): Grid {
  const rows = Array.from({ length: spec.layers }, (_, i) => spec.layers - 1 - i)
  const cells = rows.map((layer) => places.slice(layer * ids.length, (layer + 1) * ids.length))
  return {
    ...{ x: 'token read', y: 'layer', value: 'weight, share of the greatest' },
    columns: ids.map((id) => tokenText(tokenizer, id)),
    rows: rows.map(String),
    values: shares(cells.map((row) => row.map(({ weight }) => weight))),
    texts: cells.map((row) => row.map(({ tokens }) => tokenText(tokenizer, tokens[0]!.token))),
    domain: [0, 1],
  }
}
