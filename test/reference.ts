/** Reads the PyTorch reference fixtures (test/fixtures/README.md) and compares tensors against them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface ReferenceTensor {
  shape: number[]
  data: Float32Array | Int32Array
}

/** What to compare with: a tensor, or bare numbers (then only the length is checked, not the shape). */
type Comparable = ArrayLike<number> | { shape: readonly number[]; data: ArrayLike<number> }

/**
 * |actual - expected| <= atol + rtol * |expected|. The fixtures' own float32 rounding was measured against a
 * float64 run of the same code; another correct implementation differs by about as much again.
 */
export const tolerance = {
  /** Taps, logits, losses: the fixtures are off by at most a third of this (1.9e-5 on logits up to 12). */
  f32: { rtol: 1e-4, atol: 2e-5 },
  /** Gradients: the fixtures are off by at most an eighth of this (3.8e-6 on values up to 2.8). */
  gradient: { rtol: 1e-4, atol: 2e-5 },
  /** Ten AdamW steps, stable elements: off by a seventh. A looser rtol would not notice a missing decay (1e-4). */
  adam: { rtol: 1e-5, atol: 2e-5 },
  /** Hessian-vector products differentiate twice and cancel: off by 1.1e-4 on values up to 42. */
  secondOrder: { rtol: 1e-4, atol: 5e-4 },
} as const

/** The folder of one fixture, wherever the tests are started from. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))
}

/** A safetensors reader of its own: it shares no code with src/store, so neither can hide the other's error. */
export function readReference(folder: string, file = 'reference.safetensors'): Map<string, ReferenceTensor> {
  const bytes = readFileSync(join(folder, file))
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> =
    JSON.parse(bytes.toString('utf8', 8, start))
  const tensors = new Map<string, ReferenceTensor>()
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [from, to] = data_offsets
    const raw = new Uint8Array(bytes.subarray(start + from, start + to)).buffer
    if (dtype !== 'F32' && dtype !== 'I32') throw new Error(`${file}: ${name} is ${dtype}, not F32 or I32`)
    const data = dtype === 'F32' ? new Float32Array(raw) : new Int32Array(raw)
    if (data.length !== shape.reduce((a, b) => a * b, 1)) throw new Error(`${file}: ${name} is cut off`)
    tensors.set(name, { shape, data })
  }
  return tensors
}

/**
 * Throws unless every element is within tolerance, naming the worst element. `where` limits the comparison:
 * `(_, e) => e > -1e29` skips masked scores, `(i) => !skip.has(i)` skips `unstable.NAME`.
 */
export function allClose(
  actual: Comparable,
  expected: Comparable,
  options: {
    atol: number
    rtol: number
    name?: string
    where?: (index: number, expected: number) => boolean
  },
): void {
  const { atol, rtol, name = 'tensor', where } = options
  const a = 'data' in actual ? actual.data : actual
  const e = 'data' in expected ? expected.data : expected
  const shape = 'data' in expected ? expected.shape : [e.length]
  if ('data' in actual && 'data' in expected && actual.shape.join() !== expected.shape.join())
    throw new Error(`${name}: shape [${actual.shape}], expected [${expected.shape}]`)
  if (a.length !== e.length) throw new Error(`${name}: ${a.length} elements, expected ${e.length}`)

  let compared = 0
  let outside = 0
  let worst = { excess: -1, index: 0 }
  for (let index = 0; index < e.length; index++) {
    const want = e[index]!
    if (where && !where(index, want)) continue
    compared++
    const difference = Math.abs(a[index]! - want)
    const allowed = atol + rtol * Math.abs(want)
    if (difference <= allowed) continue // false for NaN
    outside++
    const excess = Number.isNaN(difference)
      ? Number.POSITIVE_INFINITY
      : difference / (allowed || Number.MIN_VALUE)
    if (excess > worst.excess) worst = { excess, index }
  }
  if (compared === 0) throw new Error(`${name}: nothing was compared`)
  if (outside === 0) return
  const { index } = worst
  throw new Error(
    `${name}: ${outside} of ${compared} elements out of tolerance (atol ${atol}, rtol ${rtol}); ` +
      `worst at [${unravel(index, shape)}]: ${a[index]}, expected ${e[index]}, ` +
      `off by ${Math.abs(a[index]! - e[index]!).toExponential(2)}`,
  )
}

function unravel(index: number, shape: readonly number[]): string {
  const position: number[] = []
  for (let rest = index, axis = shape.length - 1; axis >= 0; axis--) {
    position.unshift(rest % shape[axis]!)
    rest = Math.floor(rest / shape[axis]!)
  }
  return position.join(', ')
}
