/** Models made by hand, whose insides are known. */

import { random, type Tensor, tensor } from '../../src/array/index.ts'
import { Model } from '../../src/model/index.ts'
import type { AttentionParams, DecoderParams, DecoderSpec } from '../../src/model/spec.ts'
import type { Engine } from '../../src/onnx/index.ts'

/** A norm that divides by 1000 whatever comes: its epsilon is greater than any square. Weights of 1000 undo it. */
const still = { kind: 'rms', epsilon: 1e6 } as const
const ones = (width: number) => ({ weight: tensor(new Float32Array(width).fill(1000), [width]) })

export function matrix(rows: number, columns: number, at: (row: number, column: number) => number): Tensor {
  return tensor(
    Float32Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns)),
    [rows, columns],
  )
}

/** What a block reads and writes: parts of the stream that hold one kind of thing each. */
export const circuit = { tokens: 24, positions: 16 } as const

/**
 * An induction circuit of two layers without feed-forward parts. The stream has four parts: the token, the position,
 * the token before (which head 1 of layer 0 writes), and what comes next (which head 0 of layer 1 writes, and the head
 * reads). Head 1 of layer 0 looks at the position before. Head 0 of layer 1 looks where the token before is its own
 * token. The other heads write nothing.
 */
export function inductionModel(engine: Engine): Model {
  const { tokens, positions } = circuit
  const [P, B, N] = [tokens, tokens + positions, 2 * tokens + positions]
  const width = N + tokens
  const size = tokens
  const sharp = 12
  const spec: DecoderSpec = {
    vocab: tokens,
    width,
    layers: 2,
    context: positions,
    norm: still,
    position: { kind: 'learned' },
    attention: { heads: 2, keyValueHeads: 2, headSize: size, scale: 1 },
    layout: 'out-in',
  }
  /** For one head of the two; the other one's rows and columns are 0. */
  const project = (head: number, at: (row: number, column: number) => number) => ({
    weight: matrix(2 * size, width, (row, column) =>
      Math.floor(row / size) === head ? at(row % size, column) : 0,
    ),
  })
  const write = (head: number, part: number) => ({
    weight: matrix(width, 2 * size, (row, column) =>
      Number(Math.floor(column / size) === head && row === part + (column % size)),
    ),
  })
  const reads =
    (part: number, scale = 1) =>
    (row: number, column: number): number =>
      scale * Number(column === part + row)
  const previous: AttentionParams = {
    q: project(1, (row, column) => (row < positions - 1 ? sharp * Number(column === P + row + 1) : 0)),
    k: project(1, (row, column) => (row < positions ? sharp * Number(column === P + row) : 0)),
    v: project(1, reads(0)),
    o: write(1, B),
  }
  const induction: AttentionParams = {
    q: project(0, reads(0, sharp)),
    k: project(0, reads(B, sharp)),
    v: project(0, reads(0)),
    o: write(0, N),
  }
  const params: DecoderParams = {
    embed: matrix(tokens, width, (row, column) => Number(row === column)),
    positions: matrix(positions, width, (row, column) => Number(column === P + row)),
    blocks: [
      { ln1: ones(width), attn: previous },
      { ln1: ones(width), attn: induction },
    ],
    lnFinal: ones(width),
    head: { weight: matrix(tokens, width, (row, column) => 8 * Number(column === N + row)) },
  }
  return new Model({ engine, spec, params, path: 'induction' })
}

/**
 * A model whose blocks are linear maps: h + A h, as down relu(up h) with up = [I; −I] and down = [A, −A]. Attention
 * writes nothing. `maps` are I + A by layer, [width, width].
 */
export function linearModel(engine: Engine, { layers = 3, width = 8, vocab = 24 } = {}) {
  const gaussian = random.gaussian(3)
  const spec: DecoderSpec = {
    vocab,
    width,
    layers,
    context: 64,
    norm: still,
    position: { kind: 'none' },
    attention: { heads: 1, keyValueHeads: 1, headSize: width },
    ffn: { kind: 'plain', hidden: 2 * width, activation: 'relu' },
    layout: 'out-in',
  }
  const zero = { weight: matrix(width, width, () => 0) }
  const maps: Float64Array[] = []
  const blocks = Array.from({ length: layers }, () => {
    const a = Float32Array.from({ length: width * width }, () => (0.5 * gaussian()) / Math.sqrt(width))
    maps.push(Float64Array.from(a, (x, i) => x + Number(i % (width + 1) === 0)))
    return {
      ln1: ones(width),
      attn: { q: zero, k: zero, v: zero, o: zero },
      ln2: ones(width),
      mlp: {
        up: {
          weight: matrix(2 * width, width, (row, column) =>
            row < width ? Number(row === column) : -Number(row - width === column),
          ),
        },
        down: {
          weight: matrix(width, 2 * width, (row, column) =>
            column < width ? a[row * width + column]! : -a[row * width + column - width]!,
          ),
        },
      },
    }
  })
  const params: DecoderParams = {
    embed: matrix(vocab, width, () => gaussian()),
    blocks,
    lnFinal: ones(width),
    head: { weight: matrix(vocab, width, () => gaussian()) },
  }
  return { model: new Model({ engine, spec, params, path: 'linear' }), maps, width, layers, vocab }
}

/** a b for square matrices, row-major. */
export function product(a: Float64Array, b: Float64Array, n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => {
    let sum = 0
    for (let k = 0; k < n; k++) sum += a[Math.floor(i / n) * n + k]! * b[k * n + (i % n)]!
    return sum
  })
}
