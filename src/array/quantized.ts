/**
 * Weights in blocks: each run of `block` values along a row shares one f32 scale. 4-bit values are stored
 * two to a byte, low nibble first, offset by 8; 8-bit values are offset by 128. The layout is that of ONNX
 * Runtime's MatMulNBits.
 */

import { sizeOf } from './dim.ts'
import { fused } from './fused.ts'
import { ShapeError } from './op.ts'
import { concat, type Tensor } from './tensor.ts'

interface QuantizedAttributes {
  readonly bits: number
  readonly block: number
}

/** packed u8 [..., blocks, block * bits / 8] -> the values without their scale, f32 [..., blocks, block] */
function unpack(packed: Tensor, { bits, block }: QuantizedAttributes): Tensor {
  const bytes = packed.cast('i32')
  const values =
    bits === 8
      ? bytes
      : concat([bytes.mod(16).expandDims(-1), bytes.div(16).expandDims(-1)], -1).reshape([
          ...packed.shape.slice(0, -1),
          block,
        ])
  return values.cast('f32').sub(2 ** (bits - 1))
}

/** packed u8 [..., blocks, block * bits / 8], scales f32 [..., blocks] -> f32 [..., blocks * block] */
export function dequantize(packed: Tensor, scales: Tensor, attributes: QuantizedAttributes): Tensor {
  const blocks = packed.shape.at(-2) as number
  const values = unpack(packed, attributes).mul(scales.expandDims(-1))
  return values.reshape([...packed.shape.slice(0, -2), blocks * attributes.block])
}

const matmulCall = fused<QuantizedAttributes>({
  name: 'quantizedMatmul',
  body: ([x, packed, scales], attributes) => [
    x!.matmul(dequantize(packed!, scales!, attributes), { transposeB: true }),
  ],
  // Stored integers cannot move; activations and scales can.
  grad([g], { inputs: [x, packed, scales], attributes }) {
    const rows = (array: Tensor) => array.reshape([sizeOf(array.shape.slice(0, -1)), array.shape.at(-1)!])
    const units = unpack(packed!, attributes)
    const weight = rows(g!).matmul(rows(x!), { transposeA: true }).reshape(units.shape)
    return [g!.matmul(dequantize(packed!, scales!, attributes)), undefined, weight.mul(units).sum(-1)]
  },
  onnx(e, [x, packed, scales], { inputs, attributes: { bits, block } }) {
    const [N, blocks] = inputs[1]!.shape as [number, number]
    // Weights that are not constants cannot be prepacked, and the operator is then 200 times slower.
    if (!e.isConstant(inputs[1]!) || !e.isConstant(inputs[2]!)) return undefined
    const known = block >= 16 && Number.isInteger(Math.log2(block))
    if (!known || inputs[0]!.dtype !== 'f32') return undefined
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
  const bits = (bytes * 8) / block
  if (bits !== 4 && bits !== 8)
    throw new ShapeError(
      `quantizedMatmul: ${bits} bits a value, from ${packed} for rows of ${inner}; there are 4 and 8`,
    )
  return { block, bits }
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
