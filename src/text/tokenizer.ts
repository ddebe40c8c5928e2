/** What a text became: three parallel lists, one entry a token. */
export interface Encoding {
  readonly ids: number[]
  /** The vocabulary's own spelling: `Ġthe`, `▁the`, `##ing`, `<0xE2>`, `<unk>`. */
  readonly tokens: string[]
  /**
   * The range of the input text, in UTF-16 code units, end excluded, that each token came from.
   * Tokens inside one character (bytes of `é`) share that character's range; a token that the tokenizer
   * added (`<s>`) has an empty one, `[0, 0]` before the text and `[n, n]` after it.
   */
  readonly offsets: readonly (readonly [number, number])[]
}

export interface EncodeOptions {
  /** Add what the model expects around a text, such as `<s>` (default true). */
  readonly addSpecialTokens?: boolean
  /**
   * Read special tokens spelled out in the text, such as `<|im_end|>`, as those tokens (default true, which
   * chat templates need). With false they are ordinary characters: use it for text from strangers.
   */
  readonly parseSpecialTokens?: boolean
}

export interface DecodeOptions {
  /** Leave out special tokens such as `</s>` (default false: they appear as their names). */
  readonly skipSpecialTokens?: boolean
}

/** Text as it becomes known: what `push` and `flush` return, concatenated, is `decode` of all pushed ids. */
export interface DecodeStream {
  /** The text that this token completes: possibly empty, never part of a character. */
  push(id: number): string
  /** The rest. An unfinished character becomes U+FFFD, as in `decode`. Call it once, at the end. */
  flush(): string
}

/** Jinja source, or several by name where a model has them: `default`, `tool_use`. */
export type ChatTemplate = string | Readonly<Record<string, string>>

/**
 * Text to token ids and back. Immutable and safe to share; encoding keeps a bounded cache of words.
 *
 * Ids run from 0 to `vocabSize - 1`. `decode`, `token`, `bytes` and `push` throw a RangeError for any other
 * id and for an id that the vocabulary leaves unused. `encode` throws a TokenizerError for a character that
 * the vocabulary cannot express, which byte-level and byte-fallback vocabularies never do. A lone surrogate
 * (half a UTF-16 pair) has no UTF-8 form and is read as U+FFFD.
 */
export interface Tokenizer {
  /** One more than the largest id. A model's embedding may have more rows (padding), never fewer. */
  readonly vocabSize: number
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly unk: number | undefined
  readonly pad: number | undefined
  /** Whether `encode` puts `bos` first, by the model's own configuration. */
  readonly addBos: boolean
  /** The model's chat template, as written; `applyChatTemplate` uses it. */
  readonly chatTemplate: ChatTemplate | undefined
  encode(text: string, options?: EncodeOptions): Encoding
  decode(ids: readonly number[], options?: DecodeOptions): string
  /** The vocabulary's spelling of an id. */
  token(id: number): string
  /** The id of a vocabulary spelling. */
  id(token: string): number | undefined
  /** Whether an id is a control token such as `</s>`, which stands for no text. */
  isSpecial(id: number): boolean
  /**
   * The UTF-8 bytes that the token adds in the middle of a text; not always whole characters. They add up to
   * the text's bytes, but for what the tokenizer itself adds (`<s>`, a first space) or takes away.
   */
  bytes(id: number): Uint8Array
  stream(options?: DecodeOptions): DecodeStream
}
