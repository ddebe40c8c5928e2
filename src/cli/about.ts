/** What a model is, whichever kind: its sizes and the sites that can be read. */
import { leaves } from '../array/index.ts'
import {
  encoderSites,
  kindOf,
  load,
  loadEncoder,
  loadSeq2Seq,
  type ModelKind,
  seq2seqSites,
  sites,
} from '../model/index.ts'

export interface About {
  readonly kind: ModelKind
  readonly family: string
  readonly parameters: number
  readonly layers: number | { readonly encoder: number; readonly decoder: number }
  readonly width: number
  readonly vocab: number
  /** Most positions; null where there is no limit. */
  readonly context: number | null
  readonly tokenizer: boolean
  /** Shape legend by site. */
  readonly sites: ReadonlyMap<string, string>
}

interface Loaded {
  readonly family: string
  readonly spec: Pick<About, 'layers' | 'width' | 'vocab'>
  readonly params: unknown
  readonly tokenizer: unknown
}

function about(kind: ModelKind, loaded: Loaded, more: Pick<About, 'context' | 'sites'>): About {
  const { family, spec, params, tokenizer } = loaded
  const { layers, width, vocab } = spec
  const parameters = leaves(params).reduce((sum, [, { sizes }]) => sum + sizes.reduce((a, b) => a * b, 1), 0)
  return { kind, family, parameters, layers, width, vocab, tokenizer: tokenizer !== undefined, ...more }
}

/** From headers alone: weights are not read. */
export function aboutModel(path: string): About {
  const kind = kindOf(path)
  if (kind === 'encoder') {
    const loaded = loadEncoder(path)
    const { spec, params } = loaded
    const context = spec.positions - (spec.firstPosition ?? 0)
    return about(kind, loaded, { context, sites: encoderSites(spec, params) })
  }
  if (kind === 'encoder-decoder') {
    const loaded = loadSeq2Seq(path)
    return about(kind, loaded, { context: null, sites: seq2seqSites(loaded.spec) })
  }
  const loaded = load(path)
  return about(kind, loaded, { context: loaded.spec.context, sites: sites(loaded.spec) })
}
