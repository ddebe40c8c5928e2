/**
 * Depth by stacking: a trained model with its blocks repeated, as the beginning of a deeper one (Gong et al. 2019;
 * "Stacking Your Transformers", Du et al. 2024, operator G_stack: L blocks, g times over, in the order 1..L 1..L ...).
 *
 * Steps of the shallow model cost a fraction, and the deep one learns on from there faster than from nothing.
 */
import { mapTree, tensor } from '../array/index.ts'
import type { DecoderParams } from '../model/index.ts'

/** `params` with `layers` blocks, a multiple of what it has. Blocks are copies: each learns on by itself. */
export function stackBlocks(params: DecoderParams, layers: number): DecoderParams {
  const { blocks } = params
  if (layers % blocks.length !== 0)
    throw new RangeError(
      `${layers} layers are no multiple of the ${blocks.length} of the model that is stacked`,
    )
  const copy = (i: number) =>
    mapTree(blocks[i % blocks.length]!, (leaf) =>
      tensor(Float32Array.from(leaf.data as Float32Array), leaf.sizes),
    )
  return { ...params, blocks: Array.from({ length: layers }, (_, i) => copy(i)) } as DecoderParams
}
