/**
 * Which features two SAEs have in common (Paulo and Belrose 2025, "Sparse Autoencoders Trained on the Same Data Learn
 * Different Features").
 *
 * Features are matched one to one so that the sum of cosines of their decoder rows is largest, and once more by their
 * encoder columns. A feature is shared where both matchings give it the same counterpart and both cosines are at least
 * the threshold, 0.7 in the paper. The smaller SAE may have fewer features; then shares are of its own.
 */
import { type Tensor, tensor } from '../../array/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { assignment } from '../assignment.ts'
import type { Sae } from './sae.ts'

export interface Matching {
  /** The feature of the second SAE that each of the first has. */
  readonly counterpart: Int32Array
  readonly cosine: Float32Array
}

export interface Stability {
  readonly decoder: Matching
  readonly encoder: Matching
  /** 1 where a feature of the first SAE is shared. */
  readonly shared: Uint8Array
  /** Of the features of the first SAE. */
  readonly share: number
}

export const sharedThreshold = 0.7

/** Cosines of all rows of one with all rows of another, [m, width] and [n, width] -> [m, n]; a row of zeros has 0. */
export async function cosines(engine: Engine, a: Tensor, b: Tensor): Promise<Float32Array> {
  const unit = (x: Tensor): Tensor => x.div(x.mul(x).sum(1, { keep: true }).sqrt().maximum(1e-12))
  const program = engine.jit((x: Tensor, y: Tensor) => unit(x).matmul(unit(y), { transposeB: true }), {
    name: 'cosines',
  })
  try {
    return (await (await program(a, b)).load()) as Float32Array
  } finally {
    program.dispose()
  }
}

/** Rows matched so that the sum of their cosines is largest. */
export async function matchRows(engine: Engine, a: Tensor, b: Tensor): Promise<Matching> {
  const [m, n] = [a.sizes[0]!, b.sizes[0]!]
  const all = await cosines(engine, a, b)
  const counterpart = assignment(
    all.map((cosine) => -cosine),
    m,
    n,
  )
  return { counterpart, cosine: Float32Array.from(counterpart, (j, i) => all[i * n + j]!) }
}

export async function matchSaes(
  engine: Engine,
  a: Sae,
  b: Sae,
  threshold = sharedThreshold,
): Promise<Stability> {
  if (a.config.dIn !== b.config.dIn || a.config.dOut !== b.config.dOut)
    throw new Error(
      `matchSaes: activations of widths ${a.config.dIn} and ${b.config.dIn} have nothing in common`,
    )
  if (a.config.dSae > b.config.dSae)
    throw new Error(
      `matchSaes: give the SAE with fewer features first (${a.config.dSae} and ${b.config.dSae})`,
    )
  const decoder = await matchRows(engine, a.params.W_dec, b.params.W_dec)
  const encoder = await matchRows(engine, transposed(a.params.W_enc), transposed(b.params.W_enc))
  const shared = Uint8Array.from(decoder.counterpart, (j, i) =>
    Number(
      encoder.counterpart[i] === j && decoder.cosine[i]! >= threshold && encoder.cosine[i]! >= threshold,
    ),
  )
  return { decoder, encoder, shared, share: shareOf(shared) }
}

/** Share of the marked features, of those that `among` marks where it is given. */
export function shareOf(marked: Uint8Array, among?: ArrayLike<number>): number {
  let [count, all] = [0, 0]
  for (let i = 0; i < marked.length; i++) {
    if (among && !among[i]) continue
    all++
    count += marked[i]!
  }
  return all === 0 ? 0 : count / all
}

function transposed(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.sizes as [number, number]
  const data = matrix.data as Float32Array
  const out = new Float32Array(data.length)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!
  return tensor(out, [columns, rows])
}
