/** Families that are no decoders: what they are, and what can be done with them. */
import { encoderFamilies } from './bert.ts'

export type ModelKind = 'decoder' | 'encoder' | 'encoder-decoder'

/** The kind of a family that is no decoder, by its `model_type`. */
export function otherKind(id: string): Exclude<ModelKind, 'decoder'> | undefined {
  if (encoderFamilies.some((family) => family.id === id)) return 'encoder'
  return id === 't5' ? 'encoder-decoder' : undefined
}

/** What to do with a model of another kind than the decoder that somebody took it for. */
export const remedies: Readonly<Record<Exclude<ModelKind, 'decoder'>, string>> = {
  encoder:
    'it predicts no next token. Read its activations with glossa inspect; in the library, Encoder.open and sentenceVectors',
  'encoder-decoder':
    'it answers a text rather than going on with it. Use glossa generate or glossa inspect; in the library, Seq2Seq.open',
}
