import { z } from 'zod'
import type { Place } from '../errors.ts'
import { bytesOfSpelling, charOfByte } from './byteLevel.ts'
import { build, buildAll, type ComponentTable, component } from './component.ts'
import { type Decoder, DecoderChain, eachToken } from './decoder.ts'
import { pattern, patternFields } from './pattern.ts'
import { metaspaceFields, metaspaceScheme } from './preTokenizers.ts'
import { Utf8Decoder } from './utf8.ts'
import { byteOfToken } from './vocabulary.ts'

const type = z.string()
const bare = z.strictObject({ type })

/** Tokens in the byte alphabet, to UTF-8, to text. */
function byteLevel(): Decoder {
  /** Tokens of whole characters, as text; the bytes of the others. */
  const known = new Map<string, string | Uint8Array>()
  const look = (token: string) => {
    const found = known.get(token)
    if (found !== undefined) return found
    const bytes = bytesOfSpelling(token)
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
    const whole = !text.includes('\ufffd')
    known.set(token, whole ? text : bytes)
    return whole ? text : bytes
  }
  return {
    joins: true,
    start() {
      const utf8 = new Utf8Decoder('each sequence')
      return {
        push(token, emit) {
          const content = look(token)
          if (typeof content === 'string' && utf8.idle) return emit(content)
          let text = ''
          for (const byte of typeof content === 'string' ? bytesOfSpelling(token) : content)
            text += utf8.push(byte)
          if (text !== '') emit(text)
        },
        flush(emit) {
          emit(utf8.flush())
        },
      }
    },
    middle: bytesOfSpelling,
    literal: (text) => Array.from(new TextEncoder().encode(text), (byte) => charOfByte[byte]).join(''),
  }
}

/**
 * Runs of `<0xE2>` tokens, to UTF-8. Bytes that are not UTF-8 become one U+FFFD each, as in SentencePiece;
 * Hugging Face does that to every byte of the run, good ones too, which a stream could not know in time.
 */
const byteFallback: Decoder = {
  start() {
    const utf8 = new Utf8Decoder('each byte')
    return {
      push(token, emit) {
        const byte = byteOfToken(token)
        const text = byte < 0 ? utf8.flush() : utf8.push(byte)
        if (text !== '') emit(text)
        if (byte < 0) emit(token)
      },
      flush(emit) {
        const text = utf8.flush()
        if (text !== '') emit(text)
      },
    }
  },
  middle(token) {
    const byte = byteOfToken(token)
    return byte < 0 ? token : Uint8Array.of(byte)
  },
}

const fuse: Decoder = {
  joins: true,
  start: () => ({ push: (token, emit) => emit(token), flush() {} }),
  middle: (token) => token,
}

const stripFields = z.strictObject({
  type,
  content: z.string().length(1),
  start: z.int().nonnegative(),
  stop: z.int().nonnegative(),
})

/** Takes up to `start` and `stop` times `content` off the ends of each token. */
function strip({ content, start, stop }: z.output<typeof stripFields>): Decoder {
  const headOf = (text: string, limit: number) => {
    let n = 0
    while (n < limit && text[n] === content) n++
    return n
  }
  const tailOf = (text: string) => {
    let n = 0
    while (n < stop && n < text.length && text[text.length - 1 - n] === content) n++
    return n
  }
  const both = (token: string) => {
    const rest = token.slice(headOf(token, start))
    return rest.slice(0, rest.length - tailOf(rest))
  }
  return {
    ...eachToken(both),
    middle: (token, joined) => (joined ? token : both(token)),
    startJoined() {
      let toStrip = start
      let held = ''
      return {
        push(part, emit) {
          const head = headOf(part, toStrip)
          toStrip = head === part.length ? toStrip - head : 0
          const text = held + part.slice(head)
          const settled = text.length - tailOf(text)
          held = text.slice(settled)
          emit(text.slice(0, settled))
        },
        flush() {},
      }
    },
  }
}

const replaceFields = z.strictObject({ type, pattern: patternFields, content: z.string() })

function replace(options: z.output<typeof replaceFields>, place: Place): Decoder {
  const find = pattern(options.pattern, place.at('pattern'))
  const decode = (token: string) => {
    let text = ''
    let end = 0
    find(token, (from, to) => {
      text += token.slice(end, from) + options.content
      end = to
    })
    return text + token.slice(end)
  }
  const step = eachToken(decode)
  const single = 'String' in options.pattern && [...options.pattern.String].length === 1
  return single ? { ...step, startJoined: step.start } : step
}

function metaspace(options: z.output<typeof metaspaceFields>, place: Place): Decoder {
  const first = metaspaceScheme(options, place) === 'never' ? ' ' : ''
  return eachToken((token, isFirst) => token.replaceAll(options.replacement, isFirst ? first : ' '))
}

/** Spaces that tokens put before punctuation and contractions, as Hugging Face takes them away, one after the other. */
const spaced = [' .', ' ?', ' !', ' ,', " ' ", " n't", " 'm", ' do not', " 's", " 've", " 're"]

const cleanUp = (text: string) =>
  spaced.reduce((clean, part) => clean.replaceAll(part, part === ' do not' ? " don't" : part.trim()), text)

const wordPieceFields = z.strictObject({ type, prefix: z.string(), cleanup: z.boolean() })

function wordPiece({ prefix, cleanup }: z.output<typeof wordPieceFields>): Decoder {
  return eachToken((token, first) => {
    const text = first ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
    return cleanup ? cleanUp(text) : text
  })
}

/** Words end with `suffix`: a space, but for the last one. So the last token is held back until the next comes. */
const bpe = (suffix: string): Decoder => ({
  start() {
    let held: string | undefined
    return {
      push(token, emit) {
        if (held !== undefined) emit(held.replaceAll(suffix, ' '))
        held = token
      },
      flush(emit) {
        if (held !== undefined) emit(held.replaceAll(suffix, ''))
      },
    }
  },
  middle: (token) => token.replaceAll(suffix, ' '),
})

const ctcFields = z.strictObject({
  type,
  pad_token: z.string(),
  word_delimiter_token: z.string().min(1),
  cleanup: z.boolean(),
})

/** Speech: one token a frame; repetitions and padding go away. */
function ctc(options: z.output<typeof ctcFields>): Decoder {
  const decode = (token: string) => {
    const text = token.replaceAll(options.pad_token, '')
    return options.cleanup ? cleanUp(text).replaceAll(options.word_delimiter_token, ' ') : text
  }
  return {
    start() {
      let previous: string | undefined
      return {
        push(token, emit) {
          const text = token === previous ? '' : decode(token)
          if (text !== '') emit(text)
          previous = token
        },
        flush() {},
      }
    },
    middle: decode,
  }
}

const table: ComponentTable<Decoder[]> = {
  BPEDecoder: component(z.strictObject({ type, suffix: z.string().min(1) }), (options) => [
    bpe(options.suffix),
  ]),
  ByteFallback: component(bare, () => [byteFallback]),
  ByteLevel: component(z.looseObject({ type }), () => [byteLevel()]), // its options only concern encoding
  CTC: component(ctcFields, (options) => [ctc(options)]),
  Fuse: component(bare, () => [fuse]),
  Metaspace: component(metaspaceFields, (options, place) => [metaspace(options, place)]),
  Replace: component(replaceFields, (options, place) => [replace(options, place)]),
  Sequence: component(z.strictObject({ type, decoders: z.array(z.unknown()) }), (options, place) =>
    buildAll(table, 'decoder', options.decoders, place.at('decoders')).flat(),
  ),
  Strip: component(stripFields, (options) => [strip(options)]),
  WordPiece: component(wordPieceFields, (options) => [wordPiece(options)]),
}

/** The decoder that a tokenizer.json `decoder` section describes; null puts a space between tokens. */
export function decoder(json: unknown, place: Place): DecoderChain {
  if (json === null || json === undefined) {
    return new DecoderChain([eachToken((token, first) => (first ? token : ` ${token}`))])
  }
  return new DecoderChain(build(table, 'decoder', json, place))
}
