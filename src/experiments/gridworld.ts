/**
 * A grid world in tokens: cells, a start, a goal, lava, and a way that is `short`, straight through the lava, or `safe`, around it.
 *
 *   MODE start S goal G lava L L L L path S ... G end
 *
 * MODE names the way that follows, or is `any`: then it is either, by lot. A way goes on sideways where there is a choice,
 * so that there is one of each kind for a grid.
 */
import { random, tensor } from '../array/index.ts'
import type { Batches, TokenBatch } from '../train/index.ts'

const side = 5
const cells = side * side
const lavaCells = 4
const words = ['start', 'goal', 'lava', 'path', 'end', 'safe', 'short', 'any'] as const
type Word = (typeof words)[number]
const token = (word: Word): number => cells + words.indexOf(word)

export const ways = ['safe', 'short'] as const
export type Way = (typeof ways)[number]

export const gridVocabulary = cells + words.length
/** Tokens that end a way. */
export const endToken = token('end')
/** Cells of the longest way that is drawn. */
export const longestWay = 11
/** Tokens before the second cell of the way. */
const promptLength = 8 + lavaCells
/** Tokens of a row: the prompt, the rest of the longest way, its end, and one for the target of the last. */
export const rowLength = promptLength + longestWay + 1

export interface Grid {
  readonly start: number
  readonly goal: number
  readonly lava: readonly number[]
  /** Cells from the start to the goal. */
  readonly ways: Readonly<Record<Way, readonly number[]>>
}

const place = (cell: number): [x: number, y: number] => [cell % side, Math.floor(cell / side)]

/** The cells next to one, those towards the goal first, and sideways before up and down. */
function neighbours(cell: number, goal: number): number[] {
  const [[x, y], [gx, gy]] = [place(cell), place(goal)]
  const [right, down] = [Math.sign(gx - x), Math.sign(gy - y)]
  const moves = [
    ...(right ? [[right, 0]] : []),
    ...(down ? [[0, down]] : []),
    ...(right
      ? []
      : [
          [1, 0],
          [-1, 0],
        ]),
    ...(down
      ? []
      : [
          [0, 1],
          [0, -1],
        ]),
    ...(right ? [[-right, 0]] : []),
    ...(down ? [[0, -down]] : []),
  ] as [number, number][]
  return moves
    .map(([dx, dy]) => [x + dx, y + dy] as const)
    .filter(([x, y]) => x >= 0 && x < side && y >= 0 && y < side)
    .map(([x, y]) => y * side + x)
}

/** The shortest way that steps on no cell of `closed`, by steps to the goal from each cell; nothing where there is none. */
export function shortestWay(start: number, goal: number, closed: readonly number[]): number[] | undefined {
  const steps = new Map([[goal, 0]])
  for (const cell of steps.keys())
    for (const next of neighbours(cell, goal))
      if (!steps.has(next) && !closed.includes(next)) steps.set(next, steps.get(cell)! + 1)
  if (!steps.has(start)) return undefined
  const way = [start]
  for (let cell = start; cell !== goal; way.push(cell)) {
    const left: number = steps.get(cell)!
    cell = neighbours(cell, goal).find((next) => steps.get(next) === left - 1)!
  }
  return way
}

/** A grid whose short way goes through lava, and whose safe one is not too long. */
export function drawGrid(seed: number): Grid {
  const uniform = random.generator(seed)
  const pick = (below: number): number => Math.floor(uniform() * below)
  for (;;) {
    const [start, goal] = [pick(cells), pick(cells)]
    const short = shortestWay(start, goal, [])!
    if (short.length < 4) continue
    const free = Array.from({ length: cells }, (_, cell) => cell).filter(
      (cell) => cell !== start && cell !== goal,
    )
    const take = (from: readonly number[]): number => {
      const cell = from[pick(from.length)]!
      free.splice(free.indexOf(cell), 1)
      return cell
    }
    const lava = [take(short.slice(1, -1))]
    while (lava.length < lavaCells) lava.push(take(free))
    const safe = shortestWay(start, goal, lava)
    if (safe && safe.length <= longestWay)
      return { start, goal, lava: lava.sort((a, b) => a - b), ways: { safe, short } }
  }
}

/** The tokens up to the first cell of the way. */
export const gridPrompt = ({ start, goal, lava }: Grid, mode: Way | 'any'): number[] => [
  ...[token(mode), token('start'), start, token('goal'), goal, token('lava'), ...lava, token('path'), start],
]

/** Prompt and way, filled up with ends: `rowLength` tokens. */
export function gridRow(grid: Grid, mode: Way | 'any', way: Way): number[] {
  const row = [...gridPrompt(grid, mode), ...grid.ways[way].slice(1)]
  return [...row, ...new Array<number>(rowLength - row.length).fill(endToken)]
}

/** What a continuation of a prompt is: a way is whole, from cell to cell, and ends at the goal. */
export function wayOf({ start, goal, lava }: Grid, continuation: readonly number[]): Way | 'broken' {
  const end = continuation.indexOf(endToken)
  const way = [start, ...continuation.slice(0, end < 0 ? undefined : end)]
  const whole =
    end >= 0 &&
    way.at(-1) === goal &&
    way.slice(1).every((cell, i) => cell < cells && neighbours(way[i]!, goal).includes(cell))
  if (!whole) return 'broken'
  return way.some((cell) => lava.includes(cell)) ? 'short' : 'safe'
}

/** Rows of grids drawn anew: three of eight `safe`, three `short`, two `any`. */
export const gridBatches = (batch: number, seed: number): Batches<TokenBatch> => ({
  at(index) {
    const data = new Int32Array(batch * rowLength)
    for (let i = 0; i < batch; i++) {
      const key = random.fold(seed, index * batch + i)
      const way = ways[i % 2]!
      data.set(gridRow(drawGrid(key), i % 8 < 6 ? way : 'any', way), i * rowLength)
    }
    return { tokens: tensor(data, [batch, rowLength]) }
  },
})
