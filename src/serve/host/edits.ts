/** Changes of activations that a request describes. Their functions are shared: another vector compiles nothing. */
import { scalar, type Tensor, tensor } from '../../array/index.ts'
import { type Edit, type Edits, joinEdits, type Model, sites } from '../../model/index.ts'
import { invalid } from '../errors.ts'
import type { EditRequest } from './types.ts'

const add = (x: Tensor, { vector, strength }: { vector: Tensor; strength: Tensor }): Tensor =>
  x.add(vector.mul(strength))
const scale = (x: Tensor, { factor }: { factor: Tensor }): Tensor => x.mul(factor)

/** The edits of a request. Throws for sites that the model does not have, and vectors that do not fit one. */
export function editsOf(model: Model, requests: readonly EditRequest[]): Edits {
  let edits: Edits = {}
  for (const request of requests) {
    const width = widthOf(model, request.site)
    edits = joinEdits(edits, { [request.site]: editOf(request, width) })
  }
  return edits
}

function editOf(request: EditRequest, width: number): Edit {
  if (request.op !== 'add')
    return { apply: scale, args: { factor: scalar(request.op === 'zero' ? 0 : request.factor) } }
  const vector = floats(request.vector)
  if (vector.length !== width)
    throw invalid(`glossa.edits: the vector for '${request.site}' has ${vector.length} numbers, not ${width}`)
  return { apply: add, args: { vector: tensor(vector, [width]), strength: scalar(request.strength) } }
}

function floats(given: readonly number[] | string): Float32Array<ArrayBuffer> {
  if (typeof given !== 'string') return Float32Array.from(given)
  const bytes = Uint8Array.from(Buffer.from(given, 'base64'))
  if (bytes.length % 4 !== 0)
    throw invalid('glossa.edits: a vector in base64 must be of whole float32 numbers')
  return new Float32Array(bytes.buffer)
}

/** The last axis of a site: that of the residual stream, or another one of the model's. */
function widthOf(model: Model, site: string): number {
  const legend = sites(model.spec).get(site)
  if (legend === undefined)
    throw invalid(`glossa.edits: there is no site '${site}'; glossa inspect lists those of a model`)
  const { spec } = model
  const axis = legend.split(' ').at(-1)!
  const sizes: Readonly<Record<string, number | undefined>> = {
    width: spec.width,
    vocab: spec.vocab,
    hidden: spec.ffn?.hidden,
    inner: spec.stateSpace?.inner,
    D: spec.attention?.headSize,
  }
  const found = sizes[axis]
  if (found === undefined) throw invalid(`glossa.edits: '${site}' is [${legend}], which takes no vector`)
  return found
}
