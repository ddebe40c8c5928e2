/** `glossa attribute`: which parts of a model speak for a token. */
import * as z from 'zod'
import { type Attribution, attribute, type Contribution } from '../interp/index.ts'
import type { Model } from '../model/index.ts'
import { heatmap } from '../plot/index.ts'
import {
  exactlyOne,
  jsonOption,
  modelFlags,
  modelOptions,
  openModel,
  readIds,
  tokensOption,
} from './common.ts'
import { type Grid, gridText } from './grid.ts'
import { checkPicture, writePicture } from './picture.ts'
import { dim, print, printJson, short, table } from './terminal.ts'
import { oneToken, tokenText } from './tokens.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'attribute',
  summary: 'See which parts of a model speak for a token',
  options: z.strictObject({
    ...modelOptions.shape,
    prompt: z.string().optional().describe('The text that the model reads'),
    tokens: tokensOption,
    answer: z
      .string()
      .min(1)
      .optional()
      .describe('The token whose logit is explained: its text, or #ID; by default the likeliest'),
    wrong: z.string().min(1).optional().describe('A token whose logit is subtracted'),
    by: z
      .enum(['head', 'position'])
      .default('head')
      .describe('head: each head at the last position; position: attention as a whole at each position'),
    plot: z.string().min(1).optional().describe('A picture of the grid, .svg or .png'),
    json: jsonOption,
  }),
  flags: {
    ...modelFlags,
    prompt: { short: 'p' },
    answer: { value: 'TOKEN' },
    wrong: { value: 'TOKEN' },
    plot: { value: 'FILE' },
  },
  notes: `Direct logit attribution: what each part writes into the logit without passing through later parts, in logits. With the
bias of norm and head the parts add up to the logit. --by position explains at each position the token that comes next,
or --answer where it is given. JSON: { tokens, targets, against, parts: [{ part, layer, head, values }], bias, logits },
one value for each position.`,
  async run({ prompt, tokens, answer, wrong, by, plot, json, ...settings }) {
    exactlyOne({ '-p': prompt, '--tokens': tokens })
    checkPicture(plot)
    await using opened = await openModel(settings)
    const { model } = opened
    const ids = readIds(model, { prompt, tokens })
    const same = (text: string | undefined, flag: string): number[] | undefined =>
      text === undefined ? undefined : ids.map(() => oneToken(model, text, flag))
    const [targets, against] = [same(answer, '--answer'), same(wrong, '--wrong')]
    const found = await attribute(model, ids, { ...(targets && { targets }), ...(against && { against }) })
    const { contributions, bias, logits } = found
    const last = ids.length - 1
    const shown = `logit ${tokenText(model.tokenizer, found.targets[last]!)}${against ? ` − ${tokenText(model.tokenizer, against[last]!)}` : ''}`
    const grid = by === 'head' ? headsOf(found, last) : positionsOf(found, model)
    const title = by === 'head' ? `${shown}, by part` : 'Logit of the next token, by part'
    if (plot !== undefined) await writePicture(plot, heatmap({ ...grid, title }))
    if (json) {
      const parts = contributions.map(({ values, ...label }) => ({ ...label, values: [...values] }))
      const { targets, against } = found
      printJson({ tokens: ids, targets, against, parts, bias: [...bias], logits: [...logits] })
      return 0
    }
    print(`${title}\n\n${gridText(grid)}\n`)
    const rest = contributions.filter(({ layer }) => layer === undefined)
    print(
      table(
        [
          ['at the last token', shown],
          ...rest.map(({ part, values }) => [part, short(values[last]!)]),
          [
            'layers',
            short(
              sum(
                contributions.filter(({ layer }) => layer !== undefined),
                last,
              ),
            ),
          ],
          ['bias of norm and head', short(bias[last]!)],
          ['all', short(logits[last]!)],
        ],
        [1],
      ),
    )
    if (plot !== undefined) print(dim(`wrote ${plot}\n`))
    return 0
  },
})

const sum = (parts: readonly Contribution[], at: number): number =>
  parts.reduce((all, { values }) => all + values[at]!, 0)

/** Layers, the last one on top as in `glossa lens`, by their heads and what else they have. */
function headsOf({ contributions }: Attribution, at: number): Grid {
  const nameOf = ({ part, head }: Contribution): string => (head === undefined ? part : `${head}`)
  const own = contributions.filter(({ layer }) => layer !== undefined)
  const columns = [...new Set(own.map(nameOf))]
  const layers = 1 + Math.max(...own.map(({ layer }) => layer!))
  const values = Array.from({ length: layers }, () => columns.map(() => Number.NaN))
  for (const one of own) values[one.layer!]![columns.indexOf(nameOf(one))] = one.values[at]!
  return {
    ...{ x: 'head, or another part', y: 'layer', value: 'logits' },
    columns,
    rows: values.map((_, layer) => `${layer}`).toReversed(),
    values: values.toReversed(),
    scale: 'diverging',
  }
}

/** Parts of layers by tokens; heads and their bias are one part. */
function positionsOf({ contributions, tokens }: Attribution, model: Model): Grid {
  const nameOf = ({ part, layer }: Contribution): string => {
    const kind = part === 'head' || part === 'attention bias' ? 'attention' : part
    return layer === undefined ? kind : `${layer} ${kind}`
  }
  const rows = [...new Set(contributions.map(nameOf))]
  const values = rows.map((name) => {
    const own = contributions.filter((one) => nameOf(one) === name)
    return tokens.map((_, at) => sum(own, at))
  })
  return {
    ...{ x: 'token', y: 'part', value: 'logits' },
    columns: tokens.map((id) => tokenText(model.tokenizer, id)),
    rows: rows.toReversed(),
    values: values.toReversed(),
    scale: 'diverging',
  }
}
