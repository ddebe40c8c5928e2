/** `glossa patch`: which activations carry what differs between two prompts. */
import * as z from 'zod'
import { type PatchCell, type PatchGrid, patchGrid } from '../interp/index.ts'
import type { Model } from '../model/index.ts'
import { heatmap } from '../plot/index.ts'
import { encode, jsonOption, modelFlags, modelOptions, openModel } from './common.ts'
import { type Grid, gridText } from './grid.ts'
import { checkPicture, writePicture } from './picture.ts'
import { dim, interruptible, Progress, print, printJson, short, table } from './terminal.ts'
import { oneToken, tokensText, tokenText } from './tokens.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'patch',
  summary: 'Find the activations that carry what differs between two prompts',
  options: z.strictObject({
    ...modelOptions.shape,
    clean: z.string().min(1).describe('The prompt that leads to the answer'),
    corrupt: z.string().min(1).describe('One of as many tokens that leads elsewhere'),
    answer: z.string().min(1).describe('The token that comes after the clean prompt: its text, or #ID'),
    wrong: z.string().min(1).describe('The one that comes after the corrupted prompt'),
    site: z
      .string()
      .min(1)
      .default('hook_resid_pre')
      .describe('What is patched in each block, such as hook_mlp_out or attn.hook_z'),
    by: z
      .enum(['position', 'head', 'head-position'])
      .optional()
      .describe('What a cell is, beside its layer: a position; for sites with heads, by default a head'),
    direction: z
      .enum(['denoising', 'noising'])
      .default('denoising')
      .describe('denoising puts clean activations into the corrupted run, noising the other way round'),
    plot: z.string().min(1).optional().describe('A picture of the grid, .svg or .png'),
    json: jsonOption,
  }),
  flags: {
    ...modelFlags,
    answer: { value: 'TOKEN' },
    wrong: { value: 'TOKEN' },
    site: { value: 'SITE' },
    plot: { value: 'FILE' },
  },
  notes: `The grid has the logit difference, answer minus wrong, at the last position: 0 where it is that of the corrupted run, 1
where it is that of the clean one. Tokens mostly begin with a space: --answer " Paris". JSON: { site, by, direction,
tokens, clean, corrupt, cells: [{ layer, position, head, restored, difference, probability, divergence }] };
probability is the answer's, divergence KL from the clean run in nats. glossa inspect -m MODEL lists the sites.`,
  async run({ clean, corrupt, answer, wrong, site, by, direction, plot, json, ...settings }) {
    checkPicture(plot)
    await using opened = await openModel(settings)
    const { model } = opened
    const prompts = {
      clean: encode(model, clean),
      corrupt: encode(model, corrupt),
      answer: oneToken(model, answer, '--answer'),
      wrong: oneToken(model, wrong, '--wrong'),
    }
    checkLengths(model, prompts.clean, prompts.corrupt)
    if (prompts.answer === prompts.wrong)
      throw new UsageError('--answer and --wrong are the same token: their difference is always 0')
    const kind = by ?? (/^attn\./.test(site) ? 'head' : 'position')
    let progress: Progress | undefined
    const grid = await interruptible((signal) =>
      patchGrid(model, prompts, {
        site,
        by: kind,
        direction,
        signal,
        onProgress: (done, of) => {
          progress ??= new Progress('patching cell', of)
          progress.update(done)
        },
      }),
    )
    if (!grid.cells.some(({ restored }) => Number.isFinite(restored)))
      throw new UsageError(
        `both prompts give the same logit difference, ${short(grid.clean.difference)}: there is nothing to restore`,
      )
    const drawn = gridOf(grid, model, prompts)
    if (plot !== undefined)
      await writePicture(
        plot,
        heatmap({ ...drawn, title: `Patching ${site}, ${direction}: ${shownPair(model, prompts)}` }),
      )
    if (json) {
      const text = (ids: readonly number[]) => ids.map((id) => ({ id, text: model.tokenizer?.decode([id]) }))
      const { cells, clean, corrupt, ...about } = grid
      const tokens = { clean: text(prompts.clean), corrupt: text(prompts.corrupt) }
      printJson({ ...about, answer: prompts.answer, wrong: prompts.wrong, tokens, clean, corrupt, cells })
      return 0
    }
    const run = (name: string, { difference, probability }: PatchGrid['clean']): string[] => [
      name,
      short(difference),
      short(probability),
    ]
    print(
      table(
        [
          ['', `logit ${shownPair(model, prompts)}`, 'probability of the answer'],
          run('clean', grid.clean),
          run('corrupt', grid.corrupt),
        ],
        [1, 2],
      ),
    )
    print(`\n${site}, ${direction}: 0 as the corrupted run, 1 as the clean one\n\n${gridText(drawn)}`)
    if (plot !== undefined) print(dim(`wrote ${plot}\n`))
    return 0
  },
})

interface Ids {
  readonly clean: readonly number[]
  readonly corrupt: readonly number[]
  readonly answer: number
  readonly wrong: number
}

const shownPair = ({ tokenizer }: Model, { answer, wrong }: Ids): string =>
  `${tokenText(tokenizer, answer)} − ${tokenText(tokenizer, wrong)}`

function checkLengths(model: Model, clean: readonly number[], corrupt: readonly number[]): void {
  if (clean.length === corrupt.length) return
  throw new UsageError(
    `the prompts need as many tokens as each other, so that places correspond: --clean has ${clean.length}, ${tokensText(model, clean)}; --corrupt has ${corrupt.length}, ${tokensText(model, corrupt)}`,
  )
}

function gridOf({ by, layers, heads, positions, cells }: PatchGrid, model: Model, ids: Ids): Grid {
  const tokens = ids.clean.map((id, i) => {
    const [own, other] = [id, ids.corrupt[i]!].map((one) => tokenText(model.tokenizer, one))
    return own === other ? own! : `${own}/${other}`
  })
  const across = by === 'head' ? Array.from({ length: heads }, (_, i) => `${i}`) : tokens
  const down =
    by === 'head-position'
      ? layers.flatMap((layer) => Array.from({ length: heads }, (_, head) => `${layer}.${head}`))
      : layers.map(String)
  const count = by === 'head' ? heads : positions
  const rows = down.map((_, i) =>
    cells.slice(i * count, (i + 1) * count).map((cell: PatchCell) => cell.restored),
  )
  return {
    x: by === 'head' ? 'head' : 'token',
    y: by === 'head-position' ? 'layer.head' : 'layer',
    value: 'logit difference restored',
    columns: across,
    // The last layer is on top, as in `glossa lens`.
    rows: down.toReversed(),
    values: rows.toReversed(),
    scale: 'diverging',
    domain: [-1, 1],
  }
}
