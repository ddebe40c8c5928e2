/** A tokenizer whose ids can be written by hand: one character, one token. */
import { type Tokenizer, tokenizerFromHuggingFace } from '../src/text/index.ts'

const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
const characters = ['\n', ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))]

/** `\n` is 3, a space 4, `!` 5 and so on in the order of ASCII; `<|endoftext|>` 0, `<|im_start|>` 1, `<|im_end|>` 2. */
export const idOf = (character: string): number => 3 + characters.indexOf(character)

/** Writes `<|endoftext|>` before a text. */
const template = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<|endoftext|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: { '<|endoftext|>': { id: '<|endoftext|>', ids: [0], tokens: ['<|endoftext|>'] } },
}

/** The ids of a text, counted without the tokenizer: special tokens stand as numbers between texts. */
export const idsOf = (...parts: readonly (string | number)[]): number[] =>
  parts.flatMap((part) => (typeof part === 'number' ? [part] : [...part].map(idOf)))

/**
 * Of 99 tokens, ending a text with `<|endoftext|>`. More is added to its `tokenizer_config.json`; merges such as
 * `a b` are tokens of two characters. With `begins`, texts begin with `<|endoftext|>` too.
 */
export function charTokenizer(
  config: Readonly<Record<string, unknown>> = {},
  merges: readonly string[] = [],
  begins = false,
): Tokenizer {
  const tokens = [...specials, ...characters, ...merges.map((merge) => merge.replace(' ', ''))]
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]))
  const added = specials.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: begins ? template : null,
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  }
  return tokenizerFromHuggingFace({
    tokenizer: { json, file: 'tokenizer.json' },
    config: {
      json: { bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', ...config },
      file: 'tokenizer_config.json',
    },
  })
}
