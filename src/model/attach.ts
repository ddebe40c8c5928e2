/** Soft prompts for generation. */
import { tensor } from '../array/index.ts'
import type { AdapterTree } from './adapters.ts'
import type { Model } from './model.ts'
import { partOf } from './spec.ts'

/**
 * The model under these adapters, ready for everything. A soft prompt becomes the keys and values that it leaves
 * behind, computed once: later tokens see nothing else of it, so that generation, batches and sealed models know
 * prefixes alone.
 */
export async function attach(model: Model, adapters: readonly AdapterTree[]): Promise<Model> {
  const adapted = model.adapted(adapters)
  const soft = adapters.find(({ params }) => params.prompt)
  if (!soft) return adapted
  const rest = adapters.map((adapter) =>
    adapter === soft ? { ...adapter, params: withoutPrompt(soft) } : adapter,
  )
  const prefix = await prefixOf(adapted, soft.params.prompt!.sizes[0]!)
  return model.adapted([...rest, { params: { prefix }, strength: tensor([1], []) }])
}

const withoutPrompt = ({ params }: AdapterTree): AdapterTree['params'] => ({ ...params, prompt: undefined })

/** Keys and values of the first `count` positions, [count, layers, 2, keyValueHeads, headSize]. */
async function prefixOf(model: Model, count: number) {
  const { layers, position } = model.spec
  const { keyValueHeads: heads, headSize, normalize } = partOf(model.spec, 'attention')
  if (position.kind !== 'rotary' && normalize)
    throw new Error('soft prompts on a model that normalises keys without rotating them are not supported')
  const keys = position.kind === 'rotary' ? 'attn.hook_rot_k' : 'attn.hook_k'
  const sites = Array.from({ length: layers }, (_, layer) =>
    [keys, 'attn.hook_v'].map((name) => `blocks.${layer}.${name}`),
  )
  // Any token will do: the prompt before it does not see it.
  const read = await model.run([[0]], { read: sites.flat() })
  const row = heads * headSize
  const data = new Float32Array(count * layers * 2 * row)
  for (const [i, site] of sites.flat().entries()) {
    const from = (await read[site]!.load()) as Float32Array
    for (let p = 0; p < count; p++)
      data.set(from.subarray(p * row, (p + 1) * row), (p * layers * 2 + i) * row)
  }
  return tensor(data, [count, layers, 2, heads, headSize])
}
