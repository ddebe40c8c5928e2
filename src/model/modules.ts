/** The parts of a decoder under the names of Hugging Face's modules, as PEFT addresses them. */
import type { ModuleNames } from './bind.ts'
import { parameterShapes } from './shapes.ts'
import { type DecoderSpec, partOf } from './spec.ts'

export interface ModulePart {
  /** `model.layers.0.self_attn.q_proj` */
  readonly module: string
  /** In the tree of parameters: `blocks.0.attn.q`. */
  readonly place: string
  readonly kind: 'linear' | 'head' | 'embedding' | 'positions' | 'norm'
  /** Of a linear part, or the rows and columns of an embedding. */
  readonly inner: number
  readonly out: number
  /** Heads of queries and keys whose rotary pairs are neighbouring rows here, and halves in Hugging Face's layout. */
  readonly turned: number | undefined
  /** Its parameters: place in the tree, name of the tensor, shape. */
  readonly leaves: readonly {
    readonly place: string
    readonly tensor: string
    readonly shape: readonly number[]
  }[]
}

/** What is needed of a model. */
export interface ModuleSource {
  readonly spec: DecoderSpec
  readonly moduleNames?: ModuleNames | undefined
  readonly path?: string
}

/** Every part with parameters, in the order of the forward pass. */
export function modulesOf({ spec, moduleNames, path = 'this model' }: ModuleSource): ModulePart[] {
  if (!moduleNames)
    throw new Error(
      `${path}: adapters are addressed by the names of modules, which a model has that was opened from a checkpoint`,
    )
  const { names, prefix } = moduleNames
  const shapes = parameterShapes(spec, names)
  const parts: ModulePart[] = []
  const add = (
    place: string,
    kind: ModulePart['kind'],
    entries: readonly (readonly [string, string])[],
  ): void => {
    const leaves = entries.map(([key, name]) => ({
      place: key ? `${place}.${key}` : place,
      tensor: prefix + name,
      shape: shapes.get(name) as readonly number[],
    }))
    const [rows = 0, columns = 0] = leaves[0]!.shape
    const turned = kind === 'linear' ? spec.layout === 'out-in' : kind === 'head'
    const [inner, out] = turned ? [columns, rows] : [rows, columns]
    const module = leaves[0]!.tensor.replace(/\.[^.]*$/, '')
    parts.push({ module, place, kind, inner, out, turned: turnedHeads(spec, place), leaves })
  }
  const visit = (tree: unknown, place: string): void => {
    if (typeof tree === 'string') {
      add(place, place === 'embed' ? 'embedding' : 'positions', [['', tree]])
      return
    }
    if (typeof tree !== 'object' || tree === null) return
    const own = Object.entries(tree).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    )
    if ('weight' in tree || 'bias' in tree) {
      const matrix = shapes.get((tree as { weight?: string }).weight ?? '')?.length === 2
      if (own.length > 0) add(place, matrix ? (place === 'head' ? 'head' : 'linear') : 'norm', own)
      return
    }
    for (const [key, child] of Object.entries(tree)) visit(child, place ? `${place}.${key}` : key)
  }
  visit(names, '')
  return parts
}

function turnedHeads(spec: DecoderSpec, place: string): number | undefined {
  const { position } = spec
  if (position.kind !== 'rotary' || !position.interleaved) return undefined
  const { heads, keyValueHeads } = partOf(spec, 'attention')
  if (place.endsWith('.attn.q')) return heads
  return place.endsWith('.attn.k') ? keyValueHeads : undefined
}
