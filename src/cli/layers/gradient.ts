/** `glossa layers gradient` (paper 86). */
import { BackwardLens } from '../../interp/index.ts'
import { heatmap } from '../../plot/index.ts'
import { openModel, type ReadSettings, readIds } from '../common.ts'
import { type Grid, gridText } from '../grid.ts'
import { writePicture } from '../picture.ts'
import { dim, print, printJson } from '../terminal.ts'
import { oneToken, tokenText } from '../tokens.ts'

export interface GradientSettings extends ReadSettings {
  readonly answer: string
  readonly top: number
  readonly plot: string | undefined
  readonly json: boolean
}

export async function showGradient({
  answer,
  top,
  plot,
  json,
  ...settings
}: GradientSettings): Promise<number> {
  await using opened = await openModel(settings)
  const { model } = opened
  const ids = readIds(model, settings)
  const target = oneToken(model, answer, '--answer')
  using lens = new BackwardLens(model)
  const pass = await lens.read(ids, target)
  const places = await lens.project(pass, target, top)
  const shifts = places.filter(({ side }) => side === 'shift')
  const layers = Array.from({ length: model.spec.layers }, (_, i) => model.spec.layers - 1 - i)
  const at = (layer: number, position: number) =>
    shifts.find((one) => one.layer === layer && one.position === position)
  const grid: Grid = {
    ...{ x: 'token read', y: 'layer', value: 'length of the shift, share of the longest' },
    columns: ids.map((id) => tokenText(model.tokenizer, id)),
    rows: layers.map(String),
    values: shares(layers.map((layer) => ids.map((_, i) => at(layer, i)!.norm))),
    // After the last layer nothing but the last position leads to the target.
    texts: layers.map((layer) =>
      ids.map((_, i) => {
        const { norm, tokens } = at(layer, i)!
        return norm > 0 ? tokenText(model.tokenizer, tokens[0]!.token) : ''
      }),
    ),
    domain: [0, 1],
  }
  const title = `What a step towards ${tokenText(model.tokenizer, target)} shifts each layer to, at a loss of ${pass.loss.toFixed(2)} nats`
  if (plot !== undefined) await writePicture(plot, heatmap({ ...grid, title }))
  if (json) printJson({ loss: pass.loss, tokens: ids, target, places })
  else {
    print(`${title}\n\n${gridText(grid)}`)
    if (plot !== undefined) print(dim(`wrote ${plot}\n`))
  }
  return 0
}

/** Of the largest of them. */
export function shares(values: readonly (readonly number[])[]): number[][] {
  const most = Math.max(...values.flat().filter(Number.isFinite)) || 1
  return values.map((row) => row.map((value) => value / most))
}
