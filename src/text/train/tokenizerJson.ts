/** The files that training writes: `tokenizer.json` and `tokenizer_config.json` as Hugging Face lays them out. */

export interface AddedTokenJson {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
}

/** A section of `tokenizer.json`: its type, and the fields of that type. */
export interface SectionJson {
  readonly type: string
  readonly [field: string]: unknown
}

export interface TokenizerJson {
  readonly version: '1.0'
  readonly truncation: null
  readonly padding: null
  readonly added_tokens: readonly AddedTokenJson[]
  readonly normalizer: SectionJson | null
  readonly pre_tokenizer: SectionJson | null
  readonly post_processor: SectionJson | null
  readonly decoder: SectionJson | null
  readonly model: SectionJson
}

/** Steps of a section as one; null is none. */
export function inSequence(
  field: 'normalizers' | 'pretokenizers' | 'decoders',
  steps: readonly SectionJson[],
): SectionJson | null {
  return steps.length > 1 ? { type: 'Sequence', [field]: steps } : (steps[0] ?? null)
}

/** Special tokens, which have the first ids of the vocabulary. */
export const addedTokens = (specialTokens: readonly string[]): AddedTokenJson[] =>
  specialTokens.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))

/** Puts `begin` before and `end` after every text; undefined if there is neither. */
export function surroundWith(
  specialTokens: readonly string[],
  begin: string | undefined,
  end: string | undefined,
): SectionJson | undefined {
  if (begin === undefined && end === undefined) return undefined
  const special = (id: string | undefined, type_id: number) =>
    id === undefined ? [] : [{ SpecialToken: { id, type_id } }]
  const text = (id: 'A' | 'B', type_id: number) => ({ Sequence: { id, type_id } })
  const single = [...special(begin, 0), text('A', 0), ...special(end, 0)]
  const used = [...new Set([begin, end])].filter((token) => token !== undefined)
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, text('B', 1), ...special(end, 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [id, { id, ids: [specialTokens.indexOf(id)], tokens: [id] }]),
    ),
  }
}

/** Roles of special tokens, and the names that mean them. */
const roles = {
  bos_token: ['<s>', '<bos>', '<|begin_of_text|>', '<|startoftext|>', '<|endoftext|>'],
  eos_token: ['</s>', '<eos>', '<|end_of_text|>', '<|endoftext|>'],
  unk_token: ['<unk>', '[UNK]'],
  pad_token: ['<pad>', '<|pad|>', '[PAD]'],
  cls_token: ['[CLS]'],
  sep_token: ['[SEP]'],
  mask_token: ['<mask>', '<|mask|>', '[MASK]'],
} as const

/**
 * `tokenizer_config.json` for a trained tokenizer: which special token plays which role, by its usual name.
 * `modelMaxLength` is the model's context in tokens, where it is known.
 */
export function tokenizerConfig(
  { added_tokens }: TokenizerJson,
  options: { readonly modelMaxLength?: number } = {},
): Readonly<Record<string, unknown>> {
  const special = new Set(added_tokens.map(({ content }) => content))
  const named = Object.entries(roles).flatMap(([role, names]) => {
    const name = names.find((candidate) => special.has(candidate))
    return name === undefined ? [] : [[role, name] as const]
  })
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...Object.fromEntries(named),
    clean_up_tokenization_spaces: false,
    ...(options.modelMaxLength !== undefined && { model_max_length: options.modelMaxLength }),
  }
}
