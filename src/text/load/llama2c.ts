import { Place, quote } from '../errors.ts'
import { byteToken, Vocabulary } from '../pipeline/vocabulary.ts'
import type { Tokenizer } from '../tokenizer.ts'
import { readBytes } from './files.ts'
import { sentencePieceTokenizer } from './sentencePiece.ts'

/** run.c counts on these: unknown, begin and end of text, then the 256 bytes. */
const names = ['<unk>', '<s>', '</s>']
const firstPiece = names.length + 256

/**
 * The tokenizer of a llama2.c `tokenizer.bin`: i32 longest token in bytes, then per token an f32 score, an
 * i32 length in bytes and that much UTF-8, all little endian, to the end of the file. Spaces are written as
 * spaces. Encoding begins with `<s>` (1) and a space, as `run.c` does it. Two differences: `<s>` and `</s>`
 * spelled out in a text are those tokens, unless `parseSpecialTokens` is false; and the character ▁ is a
 * space, as in SentencePiece and GGUF (run.c spells it in bytes).
 */
export function tokenizerFromLlama2c(path: string): Tokenizer {
  return tokenizerFromLlama2cBytes(readBytes(path), path)
}

export function tokenizerFromLlama2cBytes(bytes: Uint8Array, file: string): Tokenizer {
  const { vocabulary, scores } = readTokens(bytes, file)
  const place = new Place(file)
  if (vocabulary.size < firstPiece)
    place.fail(`${vocabulary.size} tokens are too few: <unk>, <s>, </s> and 256 bytes come first`)
  return sentencePieceTokenizer(
    {
      vocabulary,
      scores,
      mergeable: (id) => id >= firstPiece,
      addedTokens: names.map((content, id) => ({
        id,
        content,
        singleWord: false,
        leftStrip: false,
        rightStrip: false,
        normalized: false,
        special: true,
      })),
      special: { unk: 0, bos: 1, eos: 2, pad: undefined },
      prefix: [1],
      suffix: [],
      addSpacePrefix: true,
      chatTemplate: undefined,
    },
    place,
  )
}

/** The token as other formats of the same model spell it. Bytes are written `<0x0A>`, or as that character. */
function spelling(id: number, text: string, place: Place): string {
  const byte = id - names.length
  if (byte < 0) return names[id]!
  if (id >= firstPiece) return text.replaceAll(' ', '▁')
  if (text !== byteToken(byte) && text !== String.fromCharCode(byte)) {
    place.fail(`token ${id} should be ${byteToken(byte)}, but is ${quote(text)}`)
  }
  return byteToken(byte)
}

function readTokens(bytes: Uint8Array, file: string): { vocabulary: Vocabulary; scores: number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const vocabulary = new Vocabulary()
  const scores: number[] = []
  const fail = (at: number, reason: string): never => new Place(file, `byte ${at}`).fail(reason)
  if (bytes.length < 4) fail(0, 'too short for a llama2.c tokenizer')
  const longest = view.getInt32(0, true)
  if (longest < 1 || longest > 4096) fail(0, `the longest token cannot have ${longest} bytes`)
  for (let at = 4; at < bytes.length; ) {
    const id = scores.length
    if (at + 8 > bytes.length) fail(at, `the file ends within token ${id}`)
    const score = view.getFloat32(at, true)
    const length = view.getInt32(at + 4, true)
    if (Number.isNaN(score)) fail(at, `token ${id} has no score (NaN)`)
    if (length < 0 || length > longest)
      fail(at + 4, `token ${id} cannot have ${length} bytes, the longest has ${longest}`)
    const start = at + 8
    at = start + length
    if (at > bytes.length) fail(start, `the file ends within token ${id}`)
    let text: string
    try {
      text = utf8.decode(bytes.subarray(start, at))
    } catch {
      return fail(start, `token ${id} is not UTF-8`)
    }
    vocabulary.add(spelling(id, text, new Place(file, `byte ${start}`)), id, new Place(file, `byte ${start}`))
    scores.push(score)
  }
  return { vocabulary, scores }
}
