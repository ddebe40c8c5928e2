/**
 * Vocabulary transfer, a trained model with another tokenizer: the row of a new token is the mean of the rows of the pieces that the old
 * tokenizer makes of its text; all other weights stay (Fast Vocabulary Transfer: Gee et al. 2022,
 * https://aclanthology.org/2022.emnlp-industry.41). Training on then costs a fraction of training from nothing, so
 * that a model whose tokenizer is another one can teach those that share ours.
 */
import { type Tensor, tensor } from '../array/index.ts'
import type { DecoderParams, DecoderSpec, Matrix } from '../model/spec.ts'
import type { Tokenizer } from '../text/index.ts'
import { withRows } from './adapters/rowOrder.ts'

/** A model and the tokenizer that it reads with. */
interface Reader {
  readonly spec: DecoderSpec
  readonly tokenizer: Tokenizer
}

/** Read before a token's text, so that the old tokenizer's space before the first word falls on it. */
const anchor = '\n'

/**
 * Parameters for `to`, which differs from `from` in its vocabulary and may differ in the order of rotary pairs. The
 * begin of text becomes the begin of text; tokens that are no text of their own (a part of a character) begin as the
 * mean of all rows. Throws where the layers would compute something else, and for parts that it cannot turn or average.
 */
export function transferVocabulary(params: DecoderParams, from: Reader, to: Reader): DecoderParams {
  checkLayers(from.spec, to.spec)
  const pieces = piecesOf(from.tokenizer, to.tokenizer, to.spec.vocab)
  const table = (x: Matrix): Tensor => {
    if ('packed' in x) throw new Error('transferVocabulary: quantised weights cannot be averaged')
    return averages(x, pieces)
  }
  const { head } = params
  if (head?.bias)
    throw new Error("transferVocabulary: the biases of a head belong to the old tokenizer's tokens")
  return {
    ...inOrder(params, from.spec, to.spec),
    embed: table(params.embed),
    ...(head && { head: { weight: table(head.weight) } }),
  }
}

/** Throws where two specifications differ in what their layers compute. */
function checkLayers(from: DecoderSpec, to: DecoderSpec): void {
  const plain = (spec: DecoderSpec): Map<string, string> => {
    const { vocab: _, context: __, position, ...layers } = spec
    const { interleaved: ___, ...angles } = position as { interleaved?: boolean }
    const said = Object.entries({ ...layers, position: angles }).filter(([, value]) => value !== undefined)
    return new Map(said.map(([key, value]) => [key, JSON.stringify(value, sorted)]))
  }
  const [old, made] = [plain(from), plain(to)]
  for (const key of new Set([...old.keys(), ...made.keys()]))
    if (old.get(key) !== made.get(key))
      throw new Error(`transferVocabulary: '${key}' is ${made.get(key)}, and was ${old.get(key)}`)
}

/** For JSON that is the same whatever the order of an object's keys. */
const sorted = (_: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value

/** For each new token the old ones that spell it; undefined where nothing does. */
function piecesOf(old: Tokenizer, tokenizer: Tokenizer, vocab: number): (readonly number[] | undefined)[] {
  const before = old.encode(anchor, { addSpecialTokens: false }).ids
  return Array.from({ length: vocab }, (_, id) => {
    if (id === tokenizer.bos || id === tokenizer.eos) return special(old)
    if (id >= tokenizer.vocabSize) return undefined
    const text = tokenizer.decode([id], { skipSpecialTokens: false })
    if (text === '' || text.includes('\ufffd')) return undefined
    const { ids } = old.encode(anchor + text, { addSpecialTokens: false })
    // Where the text grows together with the anchor ("\n\n" may be one token) it is spelled by itself.
    return before.every((piece, i) => ids[i] === piece) && ids.length > before.length
      ? ids.slice(before.length)
      : old.encode(text, { addSpecialTokens: false }).ids
  })
}

function special({ bos, eos }: Tokenizer): readonly number[] | undefined {
  const id = bos ?? eos
  return id === undefined ? undefined : [id]
}

/** [old tokens, width] -> [new tokens, width] */
function averages(x: Tensor, pieces: readonly (readonly number[] | undefined)[]): Tensor {
  const [rows, width] = x.sizes as [number, number]
  const given = x.data as Float32Array
  const every = Array.from({ length: rows }, (_, row) => row)
  const mean = (of: readonly number[]): Float64Array => {
    const sum = new Float64Array(width)
    for (const row of of) for (let i = 0; i < width; i++) sum[i]! += given[row * width + i]! / of.length
    return sum
  }
  const usual = mean(every)
  const made = new Float32Array(pieces.length * width)
  pieces.forEach((of, token) => {
    made.set(of && of.length > 0 ? mean(of) : usual, token * width)
  })
  return tensor(made, [pieces.length, width])
}

/** The blocks with queries and keys in the order of the new model's rotary pairs. */
function inOrder(params: DecoderParams, from: DecoderSpec, to: DecoderSpec): DecoderParams {
  const turned = ({ position }: DecoderSpec): boolean => position.kind === 'rotary' && position.interleaved
  if (turned(from) === turned(to)) return params
  const order = turned(to) ? 'neighbours' : 'halves'
  const blocks = params.blocks.map((block) => {
    const { attn } = block
    if (!attn || !('q' in attn))
      throw new Error('transferVocabulary: turning rotary pairs needs separate queries and keys')
    if (attn.q.bias || attn.k.bias || attn.qNorm || attn.kNorm || attn.prefix)
      throw new Error('transferVocabulary: turning rotary pairs works without biases, norms and prefix only')
    const rows = (weight: Matrix, heads: number): Tensor => {
      if ('packed' in weight) throw new Error('transferVocabulary: quantised weights cannot be turned')
      return withRows(weight, heads, order)
    }
    const { heads, keyValueHeads } = from.attention!
    return {
      ...block,
      attn: {
        ...attn,
        q: { weight: rows(attn.q.weight, heads) },
        k: { weight: rows(attn.k.weight, keyValueHeads) },
      },
    }
  })
  return { ...params, blocks }
}
