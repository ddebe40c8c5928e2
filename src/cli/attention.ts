/** `glossa attention`: what each head looks at. */
import * as z from 'zod'
import { attentionPatterns, type HeadScores, headScores, repetitionScores } from '../interp/index.ts'
import type { Model } from '../model/index.ts'
import { heatmap } from '../plot/index.ts'
import { encode, jsonOption, modelFlags, modelOptions, openModel, tokensOption } from './common.ts'
import { type Grid, gridText } from './grid.ts'
import { checkPicture, writePicture } from './picture.ts'
import { dim, print, printJson } from './terminal.ts'
import { tokenText } from './tokens.ts'
import { UsageError, verb } from './verb.ts'

/** What a cell of the grid of all heads can be. The last two are measured where only what repeats can be known. */
const scores = {
  previous: 'mean share of the token before',
  first: 'mean share of the first token',
  current: 'mean share of the token itself',
  entropy: 'mean entropy (nats)',
  induction: 'mean share of what came behind the same token',
  duplicate: 'mean share of the same token, earlier',
} as const
type Score = keyof typeof scores
const onRepetition = (score: Score): score is 'induction' | 'duplicate' =>
  score === 'induction' || score === 'duplicate'

export default verb({
  name: 'attention',
  summary: 'See what each head looks at',
  options: z.strictObject({
    ...modelOptions.shape,
    prompt: z.string().optional().describe('The text that the model reads'),
    tokens: tokensOption,
    head: z
      .string()
      .regex(/^\d+\.\d+$/, 'a head is LAYER.HEAD, such as 3.5')
      .optional()
      .describe('The pattern of one head, such as 3.5; without it a score of all heads'),
    score: z
      .enum(Object.keys(scores) as [Score, ...Score[]])
      .default('previous')
      .describe('What is shown of all heads; induction and duplicate are of random tokens that come twice'),
    plot: z.string().min(1).optional().describe('A picture of the grid, .svg or .png'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, prompt: { short: 'p' }, head: { value: 'LAYER.HEAD' }, plot: { value: 'FILE' } },
  notes: `Rows of a pattern are the tokens that look, columns those that are looked at. JSON: { layer, head, tokens, pattern },
one list a row; of all heads { tokens, heads: [{ layer, head, entropy, current, previous, first }] }, with induction and
duplicate for these scores, which need no prompt.`,
  async run({ prompt, tokens, head, score, plot, json, ...settings }) {
    const repeats = head === undefined && onRepetition(score)
    if (prompt !== undefined && tokens) throw new UsageError('-p and --tokens exclude each other')
    if (repeats && (prompt !== undefined || tokens))
      throw new UsageError(`--score ${score} is of random tokens that come twice: leave the prompt out`)
    if (!repeats && prompt === undefined && !tokens) throw new UsageError('give -p or --tokens')
    checkPicture(plot)
    await using opened = await openModel(settings)
    const { model } = opened
    const ids = prompt === undefined ? (tokens ?? []) : encode(model, prompt)
    const [grid, title, result] = await (head === undefined
      ? allHeads(model, ids, score)
      : oneHead(model, ids, head))
    if (plot !== undefined) await writePicture(plot, heatmap({ ...grid, title }))
    if (json) printJson(result)
    else {
      print(`${title}\n\n${gridText(grid)}`)
      if (plot !== undefined) print(dim(`wrote ${plot}\n`))
    }
    return 0
  },
})

type Drawn = readonly [grid: Grid, title: string, result: object]

async function oneHead(model: Model, ids: readonly number[], name: string): Promise<Drawn> {
  const [layer, head] = name.split('.').map(Number)
  const found = (await attentionPatterns(model, ids)).find((one) => one.layer === layer && one.head === head)
  if (!found) {
    const { layers, attention } = model.spec
    throw new UsageError(
      `--head ${name}: layers are 0 to ${layers - 1}, heads 0 to ${attention!.heads - 1}; a layer without attention has none`,
    )
  }
  const time = ids.length
  const pattern = ids.map((_, t) => [...found.pattern.subarray(t * time, (t + 1) * time)])
  const names = ids.map((id) => tokenText(model.tokenizer, id))
  const grid: Grid = {
    ...{ x: 'looked at', y: 'looks', value: 'share of attention' },
    columns: names,
    rows: names,
    // What causality hides is no share of 0.
    values: pattern.map((row, t) => row.map((share, i) => (i > t ? Number.NaN : share))),
    domain: [0, 1],
  }
  return [grid, `Attention of head ${name}`, { layer, head, tokens: ids, pattern }]
}

async function allHeads(model: Model, ids: readonly number[], score: Score): Promise<Drawn> {
  const heads: readonly HeadScores[] = onRepetition(score)
    ? await repetitionScores(model)
    : await headScores(model, [ids])
  const layers = [...new Set(heads.map(({ layer }) => layer))]
  const columns = [...new Set(heads.map(({ head }) => head))]
  const of = (layer: number, head: number): number =>
    (heads.find((one) => one.layer === layer && one.head === head) as Partial<Record<Score, number>>)?.[
      score
    ] ?? Number.NaN
  const grid: Grid = {
    ...{ x: 'head', y: 'layer', value: scores[score] },
    columns: columns.map(String),
    rows: layers.map(String).toReversed(),
    values: layers.map((layer) => columns.map((head) => of(layer, head))).toReversed(),
    ...(score !== 'entropy' && { domain: [0, 1] as const }),
  }
  return [grid, `Heads: ${scores[score]}`, { ...(ids.length > 0 && { tokens: ids }), heads }]
}
