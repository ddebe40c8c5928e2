/** Weights of SAE folders: each tensor that is expected, of its shape, and no other. */
import { type Tensor, tensor } from '../../../array/index.ts'
import { type Checkpoint, FileError, readFloats } from '../../../store/checkpoint.ts'
import { f32ToF16 } from '../../../store/half.ts'
import type { SafetensorsSource } from '../../../store/index.ts'

export interface Wanted {
  readonly shape: readonly number[]
  /** What may be missing. */
  readonly optional?: boolean
}

/** The tensors of a file, which `path` is for messages, as f32. FileError for one that is missing, of another shape, or not expected. */
export function readTensors(
  { tensors }: Checkpoint,
  path: string,
  wanted: Readonly<Record<string, Wanted>>,
): Readonly<Record<string, Tensor>> {
  for (const [name, entry] of tensors)
    if (!Object.hasOwn(wanted, name))
      throw new FileError(
        path,
        entry.offset,
        `has a tensor '${name}', which an SAE of this configuration has not`,
        `It has ${Object.keys(wanted).join(', ')}`,
      )
  const found = Object.entries(wanted).flatMap(([name, { shape, optional }]) => {
    const entry = tensors.get(name)
    if (!entry) {
      if (optional) return []
      throw new FileError(path, 0, `has no tensor '${name}', which an SAE of this configuration has`)
    }
    if (`${entry.shape}` !== `${shape}`)
      throw new FileError(path, entry.offset, `'${name}' is [${entry.shape}], not [${shape}]`)
    return [[name, tensor(readFloats(entry) as Float32Array<ArrayBuffer>, shape)] as const]
  })
  return Object.fromEntries(found)
}

export const source = (name: string, leaf: Tensor, dtype: 'f32' | 'f16' = 'f32'): SafetensorsSource => {
  const values = leaf.data as Float32Array
  return { name, dtype, shape: leaf.sizes, data: dtype === 'f16' ? f32ToF16(values) : values }
}

/** [rows, columns] as [columns, rows]. */
export function transposed(leaf: Tensor): Tensor {
  const [rows, columns] = leaf.sizes as [number, number]
  const [from, to] = [leaf.data as Float32Array, new Float32Array(rows * columns)]
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j]!
  return tensor(to, [columns, rows])
}

/** Taps by the names that Hugging Face's modules have, `layers.3` and `model.layers.3.mlp`; others as they are. */
export function siteOf(name: string): string {
  const found =
    /^(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h)[._](\d+)(?:\.(mlp|self_attn|attn|attention))?$/.exec(
      name,
    )
  if (!found) return /(^|\.)embed_tokens$/.test(name) ? 'hook_embed' : name
  const [, layer, part] = found
  return `blocks.${layer}.${part === undefined ? 'hook_resid_post' : part === 'mlp' ? 'hook_mlp_out' : 'hook_attn_out'}`
}
