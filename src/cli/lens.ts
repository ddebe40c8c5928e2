/** `glossa lens`: what the model would say if it stopped after each block. */
import * as z from 'zod'
import {
  fitShortcuts,
  type Lens,
  type LensCell,
  LensReader,
  type LensReading,
  lensKinds,
  logitLens,
  readLens,
  trainTunedLens,
  writeLens,
} from '../interp/index.ts'
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
import { corpusTokens } from './corpusTokens.ts'
import { type Grid, gridText } from './grid.ts'
import { checkPicture, writePicture } from './picture.ts'
import { dim, interruptible, Progress, print, printJson, short, table } from './terminal.ts'
import { tokenText } from './tokens.ts'
import { UsageError, verb } from './verb.ts'

const shown = ['probability', 'entropy', 'divergence'] as const
type Shown = (typeof shown)[number]
const names: Readonly<Record<Shown, string>> = {
  probability: 'probability of the token',
  entropy: 'entropy (nats)',
  divergence: 'KL from the last layer (nats)',
}
const titles = { logit: 'Logit lens', tuned: 'Tuned lens', shortcut: 'Linear shortcuts' } as const

export default verb({
  name: 'lens',
  summary: 'See what the model would say after each block',
  options: z.strictObject({
    ...modelOptions.shape,
    prompt: z.string().optional().describe('The text that the model reads'),
    tokens: tokensOption,
    kind: z
      .enum(lensKinds)
      .optional()
      .describe('logit reads as it is; tuned and shortcut translate first, and are fitted or loaded'),
    fit: z
      .string()
      .min(1)
      .optional()
      .describe('Text to fit the lens on: a file, folder, pattern or hf://datasets/org/name'),
    fitTokens: z
      .int()
      .positive()
      .optional()
      .describe('Tokens to fit on (200000 for tuned, 20000 for shortcut)'),
    steps: z.int().positive().optional().describe('Steps of training of the tuned lens (250)'),
    load: z.string().min(1).optional().describe('A lens that --save has written'),
    save: z.string().min(1).optional().describe('Keep the fitted lens in this folder'),
    color: z.enum(shown).default('probability').describe('What colours the cells'),
    top: z.int().positive().default(5).describe('Tokens of each cell in JSON'),
    plot: z.string().min(1).optional().describe('A picture of the grid, .svg or .png'),
    json: jsonOption,
  }),
  flags: {
    ...modelFlags,
    prompt: { short: 'p' },
    fit: { value: 'CORPUS' },
    load: { value: 'FOLDER' },
    save: { value: 'FOLDER' },
    plot: { value: 'FILE' },
  },
  notes: `The grid has the likeliest next token after each number of blocks; the row with all blocks is the model itself. Below
it, means over the positions: KL from what the model says, entropy, and the cross entropy and rank of the token that
really comes next. JSON: { kind, tokens, blocks: [{ blocks, cells: [{ top, entropy, divergence, surprisal,
crossEntropy, rank }] }] }; at the last token, whose next one is not known, the last two are null.`,
  async run({
    prompt,
    tokens,
    kind,
    fit,
    fitTokens,
    steps,
    load,
    save,
    color,
    top,
    plot,
    json,
    ...settings
  }) {
    exactlyOne({ '-p': prompt, '--tokens': tokens })
    checkPicture(plot)
    checkFit({ kind, fit, fitTokens, steps, load, save })
    await using opened = await openModel(settings)
    const { model } = opened
    const ids = readIds(model, { prompt, tokens })
    const lens = await interruptible(async (signal): Promise<Lens> => {
      if (fit !== undefined)
        return fitted(model, kind as 'tuned' | 'shortcut', { fit, fitTokens, steps, signal })
      return load === undefined ? logitLens : readLens(load, model)
    })
    if (load !== undefined && kind !== undefined && kind !== lens.kind)
      throw new UsageError(`--kind ${kind}: the lens in ${load} is a ${lens.kind} lens`)
    if (save !== undefined) writeLens(save, lens, model)
    using reader = new LensReader(model, lens, { top: Math.min(top, model.spec.vocab) })
    const reading = await reader.read([ids])
    const grid = gridOf(reading, model, color)
    if (plot !== undefined)
      await writePicture(
        plot,
        heatmap({ ...grid, title: `${titles[lens.kind]}: the next token after each block` }),
      )
    if (json) printJson(toJson(reading, model))
    else {
      print(`${gridText(grid)}\n${summary(reading)}`)
      for (const path of [save, plot]) if (path !== undefined) print(dim(`wrote ${path}\n`))
    }
    return 0
  },
})

interface FitFlags {
  readonly kind?: string | undefined
  readonly fit?: string | undefined
  readonly fitTokens?: number | undefined
  readonly steps?: number | undefined
  readonly load?: string | undefined
  readonly save?: string | undefined
}

function checkFit({ kind, fit, fitTokens, steps, load, save }: FitFlags): void {
  if (fit !== undefined && load !== undefined)
    throw new UsageError('--fit and --load exclude each other: a loaded lens is fitted already')
  if (kind === 'logit' || (kind === undefined && load === undefined)) {
    if (fit !== undefined)
      throw new UsageError('--fit is for --kind tuned or --kind shortcut: the logit lens has nothing to fit')
    if (load !== undefined)
      throw new UsageError('--load is for a tuned lens or shortcuts; leave out --kind logit')
  } else if (fit === undefined && load === undefined)
    throw new UsageError(
      `--kind ${kind} needs a lens for this model: fit one with --fit CORPUS (and keep it with --save FOLDER), or --load FOLDER`,
    )
  if (fit === undefined)
    for (const [flag, value] of Object.entries({
      '--save': save,
      '--fit-tokens': fitTokens,
      '--steps': steps,
    }))
      if (value !== undefined) throw new UsageError(`${flag} goes with --fit CORPUS`)
  if (steps !== undefined && kind !== 'tuned')
    throw new UsageError('--steps is for --kind tuned: shortcuts are solved, not trained')
}

interface FitSettings {
  readonly fit: string
  readonly fitTokens: number | undefined
  readonly steps: number | undefined
  readonly signal: AbortSignal
}

async function fitted(
  model: Model,
  kind: 'tuned' | 'shortcut',
  { fit, fitTokens = kind === 'tuned' ? 200_000 : 20_000, steps, signal }: FitSettings,
): Promise<Lens> {
  const text = await corpusTokens(model, fit, fitTokens, signal)
  if (kind === 'shortcut') {
    let progress: Progress | undefined
    const onProgress = (done: number, of: number): void => {
      progress ??= new Progress('fitting shortcuts: batch', of)
      progress.update(done)
    }
    return fitShortcuts(model, text, { tokens: fitTokens }, { onProgress, signal })
  }
  const progress = new Progress('training the tuned lens: step', steps ?? 250)
  return trainTunedLens(model, text, steps === undefined ? {} : { steps }, {
    onStep: ({ step }) => progress.update(step),
    signal,
  })
}

/** The rows of a grid from the last block up to none. */
const blocksDown = ({ layers }: LensReading): number[] =>
  Array.from({ length: layers + 1 }, (_, i) => layers - i)

const cellsOf = (reading: LensReading, blocks: number): LensCell[] =>
  Array.from({ length: reading.time }, (_, position) => reading.cell(blocks, position))

function gridOf(reading: LensReading, { tokenizer }: Model, color: Shown): Grid {
  const rows = blocksDown(reading)
  const cells = rows.map((blocks) => cellsOf(reading, blocks))
  return {
    x: 'token read',
    y: 'blocks',
    value: names[color],
    columns: Array.from(reading.tokens, (id) => tokenText(tokenizer, id)),
    rows: rows.map(String),
    values: cells.map((row) =>
      row.map((cell) => (color === 'probability' ? cell.top[0]!.probability : cell[color])),
    ),
    texts: cells.map((row) => row.map(({ top }) => tokenText(tokenizer, top[0]!.id))),
    ...(color === 'probability' && { domain: [0, 1] as const }),
  }
}

function summary(reading: LensReading): string {
  const mean = (values: readonly (number | undefined)[]): string => {
    const known = values.filter((value) => value !== undefined)
    return known.length === 0 ? '-' : short(known.reduce((a, b) => a + b, 0) / known.length)
  }
  const rows = blocksDown(reading).map((blocks) => {
    const cells = cellsOf(reading, blocks)
    return [
      `${blocks}`,
      mean(cells.map(({ divergence }) => divergence)),
      mean(cells.map(({ entropy }) => entropy)),
      mean(cells.map(({ crossEntropy }) => crossEntropy)),
      mean(cells.map(({ rank }) => rank)),
    ]
  })
  return table([['blocks', 'KL', 'entropy', 'cross entropy', 'rank'], ...rows], [0, 1, 2, 3, 4])
}

function toJson(reading: LensReading, { tokenizer }: Model): object {
  const text = (id: number): string | null => tokenizer?.decode([id]) ?? null
  return {
    kind: reading.kind,
    tokens: Array.from(reading.tokens, (id) => ({ id, text: text(id) })),
    blocks: Array.from({ length: reading.layers + 1 }, (_, blocks) => ({
      blocks,
      cells: cellsOf(reading, blocks).map(({ top, crossEntropy, rank, ...cell }) => ({
        top: top.map(({ id, probability }) => ({ id, text: text(id), probability })),
        ...cell,
        crossEntropy: crossEntropy ?? null,
        rank: rank ?? null,
      })),
    })),
  }
}
