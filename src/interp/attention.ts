/** Attention patterns: what each head looks at, and the kinds of heads that are known (Elhage et al. 2021; Olsson et al. 2022). */
import { random, type Tensor } from '../array/index.ts'
import type { Model, Pass, TokenRows } from '../model/index.ts'
import { mixerOf } from '../model/spec.ts'
import { loaded } from './streams.ts'

export interface HeadPattern {
  readonly layer: number
  readonly head: number
  /** [T, T] of the first row: from each position, the shares of those it sees. */
  readonly pattern: Float32Array
}

const patternSite = (layer: number): string => `blocks.${layer}.attn.hook_pattern`

/** Layers that have attention. */
function attentionLayers({ spec, path }: Model): number[] {
  const layers = Array.from({ length: spec.layers }, (_, i) => i).filter(
    (i) => mixerOf(spec, i) === 'attention',
  )
  if (layers.length === 0) throw new Error(`${path} has no attention`)
  return layers
}

/** The patterns of one row of tokens, every head. A prefix's keys are left out: rows need not sum to 1 then. */
export async function attentionPatterns(model: Model, tokens: readonly number[]): Promise<HeadPattern[]> {
  const layers = attentionLayers(model)
  const reads = await loaded(await model.run([tokens], { read: layers.map(patternSite) }))
  const time = tokens.length
  return layers.flatMap((layer) => {
    const read = reads[patternSite(layer)]!
    const [, heads, rows, keys] = read.sizes as [number, number, number, number]
    const data = read.data as Float32Array
    return Array.from({ length: heads }, (_, head): HeadPattern => {
      const pattern = new Float32Array(time * time)
      for (let t = 0; t < time; t++) {
        const from = ((head * rows + t) * keys + keys - time) | 0
        pattern.set(data.subarray(from, from + time), t * time)
      }
      return { layer, head, pattern }
    })
  })
}

export interface HeadScores {
  readonly layer: number
  readonly head: number
  /** Mean of −Σ p log p in nats, over positions and rows. */
  readonly entropy: number
  /** Mean share of the position itself. */
  readonly current: number
  /** Mean share of the position before, over all positions but the first. */
  readonly previous: number
  /** Mean share of the first position, over all others: where attention goes that is not needed. */
  readonly first: number
}
export interface RepetitionScores extends HeadScores {
  /** In the repetition: mean share of the token behind the earlier one of the same kind. */
  readonly induction: number
  /** In the repetition: mean share of the earlier token of the same kind. */
  readonly duplicate: number
}

/** Means along a diagonal: of pattern[t, t − back] for t from `from` on. pattern [batch, H, T, T] -> [H]. */
function diagonal(pattern: Tensor, back: number, from: number): Tensor {
  const [, heads, time] = pattern.shape as [never, number, number]
  // A square cut so that the wanted shares are on its own diagonal.
  const size = time - from
  const square = pattern.slice(2, from).slice(3, from - back, from - back + size) // [batch, H, size, size]
  const flat = square.reshape([-1, heads, size * size])
  const own = flat
    .pad(2, 0, size)
    .reshape([-1, heads, size, size + 1])
    .slice(3, 0, 1)
  return own.mean([0, 2, 3])
}

function compileScores(model: Model, layers: readonly number[], period: number | undefined) {
  return model.compile('headScores', [['batch', null]], ({ forward }: Pass, tokens: Tensor) => {
    const time = tokens.shape[1] as number
    const { reads } = forward({ tokens }, { read: layers.map(patternSite) })
    return layers.map((layer) => {
      const full = reads[patternSite(layer)]!
      const pattern = full.slice(3, -time)
      const logs = full.maximum(1e-30).log()
      return {
        entropy: full.mul(logs).sum(-1).neg().mean([0, 2]),
        current: diagonal(pattern, 0, 0),
        previous: diagonal(pattern, 1, 1),
        first: pattern.slice(2, 1).slice(3, 0, 1).mean([0, 2, 3]),
        ...(period !== undefined && {
          induction: diagonal(pattern, period - 1, period),
          duplicate: diagonal(pattern, period, period),
        }),
      }
    })
  })
}

async function scoresOf<S extends HeadScores>(
  model: Model,
  tokens: TokenRows,
  period?: number,
): Promise<S[]> {
  const layers = attentionLayers(model)
  const rows = model.rows(tokens)
  if (rows.sizes[1]! < 2) throw new RangeError('scores of heads need rows of at least two tokens')
  using program = compileScores(model, layers, period)
  const found = await loaded(await program(rows))
  return found.flatMap((scores, i) => {
    const heads = scores.entropy.sizes[0]!
    return Array.from({ length: heads }, (_, head) => {
      const numbers = Object.entries(scores).map(([name, x]) => [name, x.data[head]])
      return { layer: layers[i]!, head, ...Object.fromEntries(numbers) } as S
    })
  })
}

/** Scores of every head on rows of tokens. */
export const headScores = (model: Model, tokens: TokenRows): Promise<HeadScores[]> => scoresOf(model, tokens)

export interface RepetitionOptions {
  /** Tokens of the part that comes twice; 25 by default. */
  readonly period?: number
  readonly rows?: number
  readonly seed?: number
}

/** Scores on rows of random tokens that come twice, where only what repeats can be known. */
export function repetitionScores(
  model: Model,
  { period = 25, rows = 8, seed = 0 }: RepetitionOptions = {},
): Promise<RepetitionScores[]> {
  if (!(Number.isInteger(period) && period > 1 && 2 * period <= model.context))
    throw new RangeError(`a period is from 2 to ${Math.floor(model.context / 2)} tokens, not ${period}`)
  const next = random.generator(seed)
  const tokens = Array.from({ length: rows }, () => {
    const part = Array.from({ length: period }, () => Math.floor(next() * model.spec.vocab))
    return [...part, ...part]
  })
  return scoresOf(model, tokens, period)
}
