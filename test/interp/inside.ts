/** What PyTorch and numpy give (fixtures/inside.py). */
import { readFileSync } from 'node:fs'
import { fixture } from '../reference.ts'

export interface Inside {
  readonly row: number[]
  readonly rows: number[][]
  readonly other: number[][]
  readonly backwardLens: {
    readonly loss: number
    readonly norms: number[][]
    readonly ranks: number[][]
    readonly lastDelta: number[]
    readonly shifted: number
  }
  readonly valueVectors: {
    readonly affinity: number[]
    readonly promoted: number[]
    readonly opposite: number[]
    readonly predictions: number[][]
    readonly before: number[][]
    readonly ranksAfter: number[][]
    readonly dominant: number[][][]
    readonly coefficients: number[][][]
  }
  readonly law: { residuals: number[]; heldOut: number[]; correlation: number; decay: number }
}

export const inside = JSON.parse(readFileSync(fixture('inside.json'), 'utf8')) as {
  target: number
  shiftLayer: number
  rate: number
  concept: number[]
  count: number
  'gpt2-tiny': Inside
  'llama-tiny': Inside
}
