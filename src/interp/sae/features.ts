/** What single features are: the contexts in which they are most active. */
import { type Tensor, tensor } from '../../array/index.ts'
import { type AdapterTree, applyAdapters, type DecoderParams } from '../../model/index.ts'
import { ActivationSource, type SourceOptions } from '../activations/index.ts'
import { encode, type Sae, type SaeParams } from './sae.ts'
import { traced } from './traced.ts'

/** A window of text, and how active a feature is on each of its tokens. */
export interface Context {
  /** Largest activation, and where. */
  readonly activation: number
  readonly at: number
  readonly tokens: readonly number[]
  readonly activations: readonly number[]
}

export interface FeatureContexts {
  readonly feature: number
  /** Share of the tokens on which it is active. */
  readonly density: number
  /** Most active first, one of each window. */
  readonly contexts: readonly Context[]
}

export interface ContextOptions extends Pick<SourceOptions, 'model' | 'tokens' | 'begin' | 'exclude'> {
  readonly sae: Sae
  readonly features: readonly number[]
  /** Contexts of each; 5 by default. */
  readonly top?: number
  /** Tokens of a window; 64 by default. */
  readonly length?: number
  /** Windows of one pass; 8 by default. */
  readonly windows?: number
  /** Most tokens that are looked through; 65,536 by default. */
  readonly most?: number
  readonly progress?: (done: number, of: number) => void
}

/** Looks for the contexts in which features are most active. */
export async function topContexts(options: ContextOptions): Promise<FeatureContexts[]> {
  const {
    model,
    sae,
    features,
    top = 5,
    length = 64,
    windows = 8,
    most = 65536,
    exclude = [],
    progress,
  } = options
  const { site, dSae, dIn } = sae.config
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  for (const feature of features)
    if (!Number.isInteger(feature) || feature < 0 || feature >= dSae)
      throw new RangeError(`there is no feature ${feature}: the SAE has ${dSae}, counted from 0`)
  const source = new ActivationSource({ ...options, sites: [site], length, windows })
  const program = model.engine.jit(
    (
      params: DecoderParams,
      adapters: readonly AdapterTree[],
      own: SaeParams,
      tokens: Tensor,
      picked: Tensor,
    ) => {
      const reads = traced(model, applyAdapters(params, adapters), tokens, { read: [site] }).reads
      const activation = reads[site]!
      const x = activation.reshape([...tokens.shape, dIn])
      return encode({ ...sae, params: own }, x).gather(picked, 2)
    },
    { name: 'features', axes: [undefined, undefined, undefined, ['batch', 'time'], ['features']] },
  )
  const found = features.map((feature) => ({ feature, active: 0, contexts: [] as Context[] }))
  const left = new Set(exclude)
  const passes = Math.min(source.chunks, Math.max(1, Math.ceil(most / (length * windows))))
  let count = 0
  try {
    const picked = tensor(Int32Array.from(features))
    for (let i = 0; i < passes; i++) {
      const tokens = source.tokensOf(i)
      const values = await program(model.params, model.adapters, sae.params, tokens, picked)
      count += source.count(i)
      collect(found, tokens.data as Int32Array, values.data as Float32Array, { length, left, top })
      progress?.(i + 1, passes)
    }
  } finally {
    program.dispose()
  }
  return found.map(({ feature, active, contexts }) => ({ feature, density: active / count, contexts }))
}

interface Collecting {
  readonly length: number
  readonly left: ReadonlySet<number>
  readonly top: number
}

/** Adds the windows of one pass; values [windows, length, features]. */
function collect(
  found: { readonly feature: number; active: number; contexts: Context[] }[],
  tokens: Int32Array,
  values: Float32Array,
  { length, left, top }: Collecting,
): void {
  found.forEach((one, column) => {
    for (let start = 0; start < tokens.length; start += length) {
      const ids = tokens.subarray(start, start + length)
      const activations = Array.from(ids, (id, t) =>
        left.has(id) ? 0 : values[(start + t) * found.length + column]!,
      )
      const activation = Math.max(...activations)
      if (activation <= 0) continue
      one.active += activations.filter((value) => value > 0).length
      const last = one.contexts.at(-1)
      if (one.contexts.length === top && last && last.activation >= activation) continue
      one.contexts.push({ activation, at: activations.indexOf(activation), tokens: [...ids], activations })
      one.contexts.sort((a, b) => b.activation - a.activation)
      one.contexts.length = Math.min(one.contexts.length, top)
    }
  })
}
