import { quote } from '../errors.ts'
import type {
  ChatTemplate,
  DecodeOptions,
  DecodeStream,
  EncodeOptions,
  Encoding,
  Tokenizer,
} from '../tokenizer.ts'
import { type AddedToken, AddedTokens } from './addedTokens.ts'
import { Aligned } from './aligned.ts'
import { wellFormed } from './chars.ts'
import type { DecoderChain } from './decoder.ts'
import type { Model } from './model.ts'
import type { Normalizer } from './normalizers.ts'
import type { PostProcessor } from './postProcessors.ts'
import type { PreTokenizer } from './preTokenizers.ts'
import type { Vocabulary } from './vocabulary.ts'

/** The parts of a tokenizer, in the order in which a text meets them. */
export interface Pipeline {
  /** All tokens, added ones included. */
  readonly vocabulary: Vocabulary
  readonly addedTokens: readonly AddedToken[]
  readonly normalizer: Normalizer
  readonly preTokenizer: PreTokenizer
  readonly model: Model
  readonly postProcessor: PostProcessor
  readonly decoder: DecoderChain
  readonly special: SpecialIds
  readonly chatTemplate: ChatTemplate | undefined
}

export interface SpecialIds {
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly unk: number | undefined
  readonly pad: number | undefined
}

/** Every tokenizer, whatever file it came from: added tokens, normalizer, pre-tokenizer, model, post-processor. */
export class PipelineTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly unk: number | undefined
  readonly pad: number | undefined
  readonly addBos: boolean
  readonly chatTemplate: ChatTemplate | undefined
  private readonly pipeline: Pipeline
  private readonly added: AddedTokens
  private readonly addedById: ReadonlyMap<number, AddedToken>

  constructor(pipeline: Pipeline) {
    this.pipeline = pipeline
    this.vocabSize = pipeline.vocabulary.size
    this.bos = pipeline.special.bos
    this.eos = pipeline.special.eos
    this.unk = pipeline.special.unk
    this.pad = pipeline.special.pad
    this.addBos = this.bos !== undefined && pipeline.postProcessor.prefix.includes(this.bos)
    this.chatTemplate = pipeline.chatTemplate
    const { addedTokens, normalizer } = pipeline
    this.added = new AddedTokens(
      addedTokens,
      normalizer,
      (token) => normalizer(new Aligned(token.content)).text,
    )
    this.addedById = new Map(addedTokens.map((token) => [token.id, token]))
  }

  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { vocabulary, preTokenizer, model, postProcessor } = this.pipeline
    const { prefix, suffix, trim } = postProcessor
    const addSpecial = options.addSpecialTokens ?? true
    const ids: number[] = []
    const tokens: string[] = []
    const offsets: [number, number][] = []
    const add = (id: number, start: number, end: number) => {
      ids.push(id)
      tokens.push(vocabulary.tokens[id]!)
      offsets.push([start, end])
    }
    if (addSpecial) for (const id of prefix) add(id, 0, 0)
    const first = ids.length
    const addFrom = (id: number, source: Aligned, from: number, to: number) => {
      add(id, source.start(from), source.end(to - 1))
      if (trim === undefined) return
      const last = ids.length - 1
      const surface = source.text.slice(from, to)
      offsets[last] = trim(surface, text, offsets[last]!, last === first)
    }
    for (const section of this.added.split(
      new Aligned(wellFormed(text)),
      options.parseSpecialTokens ?? true,
    )) {
      if (section.token !== undefined) {
        addFrom(section.token.id, section.text, 0, section.text.text.length)
        continue
      }
      for (const piece of preTokenizer(section.text)) {
        const { ids: found, starts, ends } = model.tokenize(piece.text)
        for (let i = 0; i < found.length; i++) addFrom(found[i]!, piece, starts[i]!, ends[i]!)
      }
    }
    if (addSpecial) for (const id of suffix) add(id, text.length, text.length)
    return { ids, tokens, offsets }
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const stream = this.stream(options)
    const parts = ids.map((id) => stream.push(id))
    parts.push(stream.flush())
    return parts.join('')
  }

  stream(options: DecodeOptions = {}): DecodeStream {
    const run = this.pipeline.decoder.start()
    return {
      push: (id) => {
        const spelling = this.spelling(id)
        return options.skipSpecialTokens && this.isSpecial(id) ? '' : run.push(spelling)
      },
      flush: () => run.flush(),
    }
  }

  token(id: number): string {
    const token = this.pipeline.vocabulary.tokens[id]
    if (token !== undefined) return token
    throw new RangeError(
      Number.isInteger(id) && id >= 0 && id < this.vocabSize
        ? `token id ${id} is not in use`
        : `token id ${quote(id)} is outside of the vocabulary of ${this.vocabSize} tokens`,
    )
  }

  id(token: string): number | undefined {
    return this.pipeline.vocabulary.ids.get(token)
  }

  isSpecial(id: number): boolean {
    return this.addedById.get(id)?.special ?? false
  }

  bytes(id: number): Uint8Array {
    return this.pipeline.decoder.bytes(this.spelling(id))
  }

  /** The token as the decoder expects it: an added one is not written in the model's alphabet. */
  private spelling(id: number): string {
    const token = this.token(id)
    return this.addedById.has(id) ? this.pipeline.decoder.literal(token) : token
  }
}
