/**
 * Activation patching: which activations carry what differs between two prompts (Vig et al. 2020; Meng et al. 2022;
 * practice after Heimersheim and Nanda 2024). A prompt runs with activations of the other one in the place of its own:
 *
 *   denoising   the corrupted prompt runs, with activations of the clean one: what suffices to restore the answer
 *   noising     the clean prompt runs, with activations of the corrupted one: what is needed for the answer
 *
 * Each cell of the grid is a row of a batch. Donor activations and the mask of places are arguments, so that the whole
 * grid over layers, positions or heads runs in one compiled program, whichever prompts come next.
 */
import { logSoftmax, type Tensor, tensor } from '../array/index.ts'
import type { EditFunction, Model, Pass } from '../model/index.ts'
import { sites } from '../model/taps.ts'
import { loaded } from './streams.ts'

export type Direction = 'denoising' | 'noising'
/** What a cell of the grid is: a layer and this. */
export type PatchBy = 'position' | 'head' | 'head-position'

export interface PatchPrompts {
  readonly clean: readonly number[]
  /** As many tokens as `clean`. */
  readonly corrupt: readonly number[]
  /** The token that the clean prompt should lead to, and the one that the corrupted prompt leads to. */
  readonly answer: number
  readonly wrong: number
}

export interface PatchOptions {
  /** Within a block (`hook_resid_pre`, `attn.hook_z`), or a site of its own (`hook_embed`). */
  readonly site?: string
  readonly by?: PatchBy
  readonly direction?: Direction
  /** Cells that run together; 32 by default. */
  readonly batch?: number
  readonly onProgress?: (done: number, of: number) => void
  readonly signal?: AbortSignal | undefined
}

/** At the last position. */
export interface PatchMetrics {
  /** logit(answer) − logit(wrong) */
  readonly difference: number
  /** Of the answer. */
  readonly probability: number
  /** KL(clean ‖ this run) in nats. */
  readonly divergence: number
}

export interface PatchGrid {
  readonly site: string
  readonly by: PatchBy
  readonly direction: Direction
  /** The layers that have the site; one, 0, for a site outside of blocks. */
  readonly layers: readonly number[]
  readonly positions: number
  readonly heads: number
  readonly clean: PatchMetrics
  readonly corrupt: PatchMetrics
  readonly cells: readonly PatchCell[]
}

export interface PatchCell extends PatchMetrics {
  readonly layer: number
  /** Undefined where all positions, or all heads, were patched. */
  readonly position?: number
  readonly head?: number
  /** Where the logit difference lies between the corrupted run, 0, and the clean one, 1; NaN where they are equal. */
  readonly restored: number
}

/** How activations are laid out. */
type Layout = 'stream' | 'heads' | 'scores'
const layoutOf = (legend: string): Layout | undefined =>
  /^batch T [HK] D$|^batch T H width$/.test(legend)
    ? 'heads'
    : /^batch H T keys$/.test(legend)
      ? 'scores'
      : /^batch T \w+$/.test(legend)
        ? 'stream'
        : undefined

interface Place {
  /** By layer. */
  readonly names: ReadonlyMap<number, string>
  readonly layout: Layout
  readonly heads: number
}

/** The site in every layer that has it. Throws, with what there is, for one that cannot be patched. */
function placeOf({ spec, path }: Model, site: string, by: PatchBy): Place {
  const known = sites(spec)
  const names = new Map<number, string>()
  if (known.has(site)) names.set(0, site)
  else
    for (let layer = 0; layer < spec.layers; layer++)
      if (known.has(`blocks.${layer}.${site}`)) names.set(layer, `blocks.${layer}.${site}`)
  const [first] = names.values()
  if (first === undefined) {
    const inBlocks = [...known.keys()].flatMap((name) => /^blocks\.\d+\.(.*)$/.exec(name)?.[1] ?? [])
    const some = [...new Set(inBlocks)].filter((name) => layoutOf(known.get(`blocks.0.${name}`) ?? ''))
    throw new Error(`${path} has no site '${site}' in its blocks; there are: ${some.join(', ')}`)
  }
  const legend = known.get(first)!
  const layout = layoutOf(legend)
  if (!layout || first === 'logits')
    throw new Error(`the site '${site}' [${legend.split(' ').join(', ')}] cannot be patched by position`)
  if (layout === 'stream' && by !== 'position')
    throw new Error(
      `the site '${site}' [${legend.split(' ').join(', ')}] has no heads: patch it by position, or heads at attn.hook_z`,
    )
  const { attention } = spec
  const heads = layout === 'stream' ? 1 : legend.includes('K') ? attention!.keyValueHeads : attention!.heads
  return { names, layout, heads }
}

interface Cell {
  readonly layer: number
  readonly position?: number
  readonly head?: number
}

/** Layer by layer, then heads, then positions. */
function cellsOf({ names, heads }: Place, positions: number, by: PatchBy): Cell[] {
  const each = <T>(count: number, make: (i: number) => T): T[] =>
    Array.from({ length: count }, (_, i) => make(i))
  return [...names.keys()].flatMap((layer): Cell[] => {
    if (by === 'position') return each(positions, (position) => ({ layer, position }))
    if (by === 'head') return each(heads, (head) => ({ layer, head }))
    return each(heads, (head) => each(positions, (position) => ({ layer, head, position }))).flat()
  })
}

interface PatchArguments {
  /** i32 [B, T]: one prompt in every row. */
  readonly tokens: Tensor
  /** i32 [B]: the last position. */
  readonly at: Tensor
  /** i32 [2]: answer, wrong. */
  readonly answers: Tensor
  /** Log-probabilities of the clean run, [vocab]. */
  readonly clean: Tensor
  /** Activations [1, ...] by layer. */
  readonly donors: Readonly<Record<string, Tensor>>
  /** bool [B, T, heads] by layer. */
  readonly masks: Readonly<Record<string, Tensor>>
}
type Measured = { readonly [K in keyof PatchMetrics | 'logp']: Tensor }

/** One program for all cells: what is patched, and where, are arguments. */
function compilePatching(model: Model, { names, layout }: Place) {
  const rows = ['batch', 'time', null] as const
  const byLayer = (axes: readonly (string | null)[]) =>
    Object.fromEntries([...names.keys()].map((layer) => [layer, axes]))
  const donorAxes = {
    stream: [null, 'time', null],
    heads: [null, 'time', null, null],
    scores: [null, null, 'time', 'time'],
  }[layout]
  return model.compile(
    'patch',
    [
      {
        tokens: ['batch', 'time'],
        at: ['batch'],
        donors: byLayer(donorAxes),
        masks: byLayer(rows),
      },
    ],
    ({ forward }: Pass, { tokens, at, answers, clean, donors, masks }: PatchArguments): Measured => {
      const edit = Object.fromEntries(
        [...names].map(([layer, name]): [string, EditFunction] => [
          name,
          (own) => {
            const mask = masks[layer]!
            const fitted =
              layout === 'stream'
                ? mask
                : (layout === 'scores' ? mask.transpose([0, 2, 1]) : mask).expandDims(-1)
            return fitted.where(donors[layer]!, own)
          },
        ]),
      )
      const { logits } = forward({ tokens, at }, { edit })
      const last = logits.reshape([-1, logits.shape.at(-1)!]) // [B, vocab]
      const logp = logSoftmax(last)
      const [answer, wrong] = answers.split(0, [1, 1]).map((id) => last.gather(id, 1).sum(-1))
      return {
        difference: answer!.sub(wrong!),
        probability: logp
          .gather(answers.slice(0, 0, 1), 1)
          .sum(-1)
          .exp(),
        divergence: clean.exp().mul(clean.sub(logp)).sum(-1),
        logp,
      }
    },
  )
}

/** The programs that patch one kind of site in a model. */
export class Patcher {
  readonly model: Model
  readonly site: string
  readonly by: PatchBy
  readonly #place: Place
  readonly #program: ReturnType<typeof compilePatching>

  constructor(
    model: Model,
    { site = 'hook_resid_pre', by = 'position' }: Pick<PatchOptions, 'site' | 'by'> = {},
  ) {
    this.model = model
    this.site = site
    this.by = by
    this.#place = placeOf(model, site, by)
    this.#program = compilePatching(model, this.#place)
  }

  /** Patches every cell. Throws for prompts of different length: places would not correspond. */
  async patch(
    prompts: PatchPrompts,
    options: Pick<PatchOptions, 'direction' | 'batch' | 'onProgress' | 'signal'> = {},
  ) {
    const { direction = 'denoising', batch = 32, onProgress, signal } = options
    const { clean, corrupt } = prompts
    if (clean.length !== corrupt.length)
      throw new Error(
        `the clean prompt has ${clean.length} tokens and the corrupted one ${corrupt.length}: patching needs places that correspond`,
      )
    if (this.model.prefixLength > 0)
      throw new Error('patching counts positions from the first token: take the prefix off the model')
    const { names, heads } = this.#place
    const positions = clean.length
    const [base, donor] = direction === 'denoising' ? [corrupt, clean] : [clean, corrupt]
    const reads = await this.model.run([donor], { read: [...names.values()] })
    const donors = Object.fromEntries([...names].map(([layer, name]) => [layer, reads[name]!]))
    let reference = tensor(new Float32Array(this.model.spec.vocab))

    const measure = async (tokens: readonly number[], cells: readonly (Cell | undefined)[]) => {
      const rows = cells.length
      const masks = new Map(
        [...names.keys()].map((layer) => [layer, new Uint8Array(rows * positions * heads)]),
      )
      cells.forEach((cell, row) => {
        if (!cell) return
        const mask = masks.get(cell.layer)!
        const range = (only: number | undefined, count: number) =>
          only === undefined ? Array.from({ length: count }, (_, i) => i) : [only]
        for (const position of range(cell.position, positions))
          for (const head of range(cell.head, heads)) mask[(row * positions + position) * heads + head] = 1
      })
      const run = this.#program({
        tokens: tensor(Int32Array.from(cells.flatMap(() => tokens)), [rows, positions]),
        at: tensor(new Int32Array(rows).fill(positions - 1)),
        answers: tensor(Int32Array.of(prompts.answer, prompts.wrong)),
        clean: reference,
        donors,
        masks: Object.fromEntries(
          [...masks].map(([layer, mask]) => [layer, tensor(mask, [rows, positions, heads], 'bool')]),
        ),
      })
      const { difference, probability, divergence, logp } = await loaded(await run)
      const metrics = cells.map(
        (_, row): PatchMetrics => ({
          difference: difference.data[row] as number,
          probability: probability.data[row] as number,
          divergence: divergence.data[row] as number,
        }),
      )
      return { metrics, logp: logp.data as Float32Array }
    }

    for (const tokens of [clean, corrupt]) this.model.rows([tokens])
    for (const id of [prompts.answer, prompts.wrong]) this.model.rows([[id]])
    const cleanRun = await measure(clean, [undefined])
    reference = tensor(cleanRun.logp.slice())
    const ownClean = { ...cleanRun.metrics[0]!, divergence: 0 }
    const ownCorrupt = (await measure(corrupt, [undefined])).metrics[0]!
    const span = ownClean.difference - ownCorrupt.difference
    const all = cellsOf(this.#place, positions, this.by)
    const cells: PatchCell[] = []
    for (let from = 0; from < all.length; from += batch) {
      signal?.throwIfAborted()
      const part = all.slice(from, from + batch)
      const { metrics } = await measure(base, part)
      for (const [i, metric] of metrics.entries())
        cells.push({
          ...part[i]!,
          ...metric,
          restored: span === 0 ? Number.NaN : (metric.difference - ownCorrupt.difference) / span,
        })
      onProgress?.(cells.length, all.length)
    }
    return {
      site: this.site,
      by: this.by,
      direction,
      layers: [...names.keys()],
      positions,
      heads,
      clean: ownClean,
      corrupt: ownCorrupt,
      cells,
    } satisfies PatchGrid
  }

  /** Programs compiled so far. */
  get compilations(): number {
    return this.#program.compilations
  }

  dispose(): void {
    this.#program.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** One grid; a `Patcher` keeps its program for more. */
export async function patchGrid(
  model: Model,
  prompts: PatchPrompts,
  options: PatchOptions = {},
): Promise<PatchGrid> {
  using patcher = new Patcher(model, options)
  return patcher.patch(prompts, options)
}
