/** A feature of a sparse autoencoder added or held, against what that means written out. */
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor, tensor } from '../../src/array/index.ts'
import type { Sae } from '../../src/interp/sae/sae.ts'
import type { EditWithArguments } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { type ShiftOptions, shiftFeature } from '../../src/steer/index.ts'
import { allClose } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const [width, features, site] = [6, 10, 'blocks.0.hook_resid_post']
const draw = random.gaussian(8)
const normal = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => draw()),
    shape,
  )
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
const params = {
  W_enc: normal(width, features),
  W_dec: normal(features, width),
  b_enc: normal(features),
  b_dec: normal(width),
}
const sae: Sae = {
  config: {
    ...{ architecture: 'standard', dIn: width, dOut: width, dSae: features, transcoder: false },
    ...{ subtractBias: true, normalize: 'none', site },
  },
  params,
}
const x = normal(2, 3, width)

const run = async (options: ShiftOptions): Promise<Float32Array> => {
  const edit = shiftFeature(sae, options)[site] as EditWithArguments
  return floats(await engine.jit((x: Tensor, args: never) => edit.apply(x, args))(x, edit.args as never))
}
/** Feature `i` of each row: relu((x − b_dec) W_enc + b_enc). */
const featureOf = (row: Float32Array, i: number): number =>
  Math.max(
    0,
    row.reduce(
      (sum, v, j) => sum + (v - floats(params.b_dec)[j]!) * floats(params.W_enc)[j * features + i]!,
      floats(params.b_enc)[i]!,
    ),
  )
/** Each row with a multiple of what a feature writes. */
const moved = (i: number, much: (feature: number) => number): number[] =>
  Array.from({ length: 6 }, (_, r) => {
    const row = floats(x).slice(r * width, (r + 1) * width)
    return [...row].map((v, j) => v + much(featureOf(row, i)) * floats(params.W_dec)[i * width + j]!)
  }).flat()
const close = { rtol: 1e-4, atol: 2e-5 }

describe('a feature', () => {
  it('is added: what it writes, in the measure asked for', async () => {
    allClose(
      await run({ feature: 4, strength: 2.5 }),
      moved(4, () => 2.5),
      { ...close, name: 'added' },
    )
    allClose(
      await run({ feature: 4, strength: -1 }),
      moved(4, () => -1),
      { ...close, name: 'taken away' },
    )
  })

  it('is held at a value, all of the way or a part of it', async () => {
    allClose(
      await run({ feature: 7, strength: 1, clamp: 3 }),
      moved(7, (f) => 3 - f),
      { ...close, name: 'held' },
    )
    allClose(
      await run({ feature: 7, strength: 1, clamp: 0 }),
      moved(7, (f) => -f),
      { ...close, name: 'ablated' },
    )
    allClose(
      await run({ feature: 7, strength: 0.5, clamp: 3 }),
      moved(7, (f) => (3 - f) / 2),
      {
        ...close,
        name: 'half of the way',
      },
    )
  })

  it('makes no edits at strength 0, and must be there', () => {
    expect(shiftFeature(sae, { feature: 1, strength: 0, clamp: 5 })).toEqual({})
    expect(() => shiftFeature(sae, { feature: 10, strength: 1 })).toThrow(
      'feature 10: the SAE has features 0 to 9',
    )
    expect(() => shiftFeature(sae, { feature: 1, strength: Number.NaN })).toThrow(/finite/)
  })
})
