/**
 * Weights in blocks: each run of `block` values along a row shares one f32 scale. 4-bit values are stored
 * two to a byte, low nibble first, offset by 8; 8-bit values are offset by 128. The layout is that of ONNX
 * Runtime's MatMulNBits.
 */

import { fused } from './fused.ts'
import { ShapeError } from './op.ts'
import { concat, type Tensor } from './tensor.ts'

interface QuantizedAttributes {
  readonly bits: number
  readonly block: number
}

/** packed u8 [..., blocks, block * bits / 8], scales f32 [..., blocks] -> f32 [..., blocks * block] */
export function dequantize(packed: Tensor, scales: Tensor, { bits, block }: QuantizedAttributes): Tensor {
  const rows = packed.shape.slice(0, -2)
  const blocks = packed.shape.at(-2) as number
  const bytes = packed.cast('i32')
  const values =
    bits === 8
      ? bytes
      : concat([bytes.mod(16).expandDims(-1), bytes.div(16).expandDims(-1)], -1).reshape([
          ...rows,
          blocks,
          block,
        ])
  const centred = values.cast('f32').sub(2 ** (bits - 1))
  return centred.mul(scales.expandDims(-1)).reshape([...rows, blocks * block])
}

const matmulCall = fused<QuantizedAttributes>({
  name: 'quantizedMatmul',
  body: ([x, packed, scales], attributes) => [
    x!.matmul(dequantize(packed!, scales!, attributes), { transposeB: true }),
  ],
  // Only the activations have a gradient: stored integers cannot move.
  grad: ([g], { inputs: [, packed, scales], attributes }) => [
    g!.matmul(dequantize(packed!, scales!, attributes)),
    undefined,
    undefined,
  ],
  onnx(e, [x, packed, scales], { inputs, attributes: { bits, block } }) {
    const [N, blocks] = inputs[1]!.shape as [number, number]
    // Weights that are not constants cannot be prepacked, and the operator is then 200 times slower.
    if (!e.isConstant(inputs[1]!) || !e.isConstant(inputs[2]!)) return undefined
    return [
      e.node(
        'MatMulNBits',
        [x!, packed!, scales!],
        { K: blocks * block, N, bits, block_size: block, accuracy_level: 4 },
        'com.microsoft',
      ),
    ]
  },
})

/** Block size and bits that a packed matrix has for rows of `inner` values. */
function layoutOf(packed: Tensor, inner: number): QuantizedAttributes {
  const [, blocks, bytes] = packed.shape as [number, number, number]
  const block = inner / blocks
  return { block, bits: (bytes * 8) / block }
}

/** Rows of a quantised matrix [N, width] by i32 indices: f32 [..., width]. Only those rows are unpacked. */
export const quantizedRows = (packed: Tensor, scales: Tensor, indices: Tensor, width: number): Tensor =>
  dequantize(packed.gather(indices), scales.gather(indices), layoutOf(packed, width))

/** x [..., K] times a quantised matrix [N, K], transposed: [..., N]. */
export function quantizedMatmul(x: Tensor, packed: Tensor, scales: Tensor): Tensor {
  const [rows, blocks] = packed.shape as [number, number]
  const inner = x.shape.at(-1)
  if (typeof inner !== 'number' || inner % blocks !== 0)
    throw new ShapeError(`quantizedMatmul: ${x} does not fit ${rows} rows of ${blocks} blocks`)
  return matmulCall([x, packed, scales], layoutOf(packed, inner))[0]!
}
