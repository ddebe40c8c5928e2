/** Byte-level byte-pair encoding (Sennrich et al. 2016), trained by counting: as small as it can be. */

/** Words as GPT-2 splits them: a merge never crosses their borders. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

/** GPT-2's printable character for each byte. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++))
}

export interface Vocabulary {
  readonly tokens: readonly string[]
  readonly merges: readonly (readonly [string, string])[]
}

/** The most frequent pairs of neighbours, merged one after the other until there are `size` tokens. */
export function trainBpe(text: string, size: number, special: readonly string[]): Vocabulary {
  const characters = byteCharacters()
  const counts = new Map<string, number>()
  for (const [word] of text.matchAll(words)) counts.set(word, (counts.get(word) ?? 0) + 1)
  const entries = [...counts].map(([word, count]) => ({
    count,
    parts: Array.from(Buffer.from(word), (byte) => characters[byte]!),
  }))

  const tokens = [...special, ...characters]
  const merges: [string, string][] = []
  const pairCounts = new Map<string, number>()
  const where = new Map<string, Set<number>>()
  const tally = (index: number, sign: 1 | -1): void => {
    const { parts, count } = entries[index]!
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]} ${parts[i + 1]}`
      pairCounts.set(pair, (pairCounts.get(pair) ?? 0) + sign * count)
      if (sign > 0) where.set(pair, (where.get(pair) ?? new Set()).add(index))
    }
  }
  entries.forEach((_, index) => {
    tally(index, 1)
  })

  while (tokens.length < size) {
    let best: string | undefined
    let most = 1
    // Ties go to the pair that sorts first, so that the result does not depend on the order of the text.
    for (const [pair, count] of pairCounts)
      if (count > most || (count === most && best !== undefined && pair < best)) [best, most] = [pair, count]
    if (best === undefined) break
    const [left, right] = best.split(' ') as [string, string]
    merges.push([left, right])
    tokens.push(left + right)
    for (const index of where.get(best)!) {
      tally(index, -1)
      const { parts } = entries[index]!
      for (let i = 0; i + 1 < parts.length; i++)
        if (parts[i] === left && parts[i + 1] === right) parts.splice(i, 2, left + right)
      tally(index, 1)
    }
    pairCounts.delete(best)
  }
  return { tokens, merges }
}

/** The vocabulary as `tokenizer.json`; every text begins with `begin`. */
export function tokenizerJson({ tokens, merges }: Vocabulary, begin: string): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: begin,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: begin, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: begin, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [begin]: { id: begin, ids: [0], tokens: [begin] } },
    },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  }
}
