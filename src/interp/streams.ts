/** The residual stream between the blocks, and how the head reads it. */
import { leaves, type Tensor } from '../array/index.ts'
import { unembed } from '../model/decoder.ts'
import type { DecoderParams, DecoderSpec, Model } from '../model/index.ts'
import { norm, softcap } from '../model/parts/linear.ts'

/** Where the stream is read after 0, 1, ... and all blocks: layers + 1 sites. */
export const streamSites = ({ layers }: DecoderSpec): string[] => [
  ...Array.from({ length: layers }, (_, layer) => `blocks.${layer}.hook_resid_pre`),
  `blocks.${layers - 1}.hook_resid_post`,
]

/** Logits of streams [..., width] as the model makes them of its last: final norm, head, soft cap. */
export function readOut(spec: DecoderSpec, params: DecoderParams, stream: Tensor): Tensor {
  const { lnFinal } = params
  const final = lnFinal ? norm(stream, lnFinal, spec.norm) : stream
  return softcap(unembed(params, final), spec.logitSoftcap)
}

/** Brings results that are on a device to the host, where `data` reads them; gives the tree back. */
export async function loaded<T>(tree: T): Promise<T> {
  for (const [, leaf] of leaves(tree)) await leaf.load()
  return tree
}

/** Tokens of a row that text is cut into: those asked for, or 128 where the model has room for them. */
export function rowLength(
  { context, path }: Pick<Model, 'context' | 'path'>,
  asked: number | undefined,
): number {
  if (asked !== undefined && asked > context)
    throw new RangeError(`rows of ${asked} tokens: the context of ${path} is ${context}`)
  return asked ?? Math.min(128, context)
}
