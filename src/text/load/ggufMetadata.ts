/** What `tokenizer.ggml.*` says, whatever kind of tokenizer it describes. */
import { Place, quote } from '../errors.ts'
import type { AddedToken } from '../pipeline/addedTokens.ts'
import type { SpecialIds } from '../pipeline/pipeline.ts'
import { maxVocabulary, Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate } from '../tokenizer.ts'

/** `tokenizer.ggml.token_type` */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** No token, as a file writes it in a u32 or an i32. */
const noToken = [0xffffffff, -1]

/** Metadata under `tokenizer.ggml.`, read with their types checked. */
export class GgufMetadata {
  private readonly values: Readonly<Record<string, unknown>>
  readonly file: string

  constructor(values: Readonly<Record<string, unknown>>, file: string) {
    this.values = values
    this.file = file
  }

  place(key: string): Place {
    return new Place(this.file, `tokenizer.ggml.${key}`)
  }

  get(key: string): unknown {
    const value = this.values[`tokenizer.ggml.${key}`]
    return typeof value === 'bigint' ? Number(value) : (value ?? undefined)
  }

  flag(key: string): boolean | undefined {
    const value = this.get(key)
    if (value === undefined || typeof value === 'boolean') return value
    return this.place(key).fail(`expected true or false, found ${quote(value)}`)
  }

  string(key: string): string | undefined {
    const value = this.get(key)
    if (value === undefined || typeof value === 'string') return value
    return this.place(key).fail(`expected a string, found ${quote(value)}`)
  }

  /** A list of strings or numbers, one for each of `length` tokens. */
  list<T extends 'string' | 'number'>(key: string, of: T, length?: number) {
    const value = this.get(key)
    if (value === undefined) return undefined
    const list = ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : value
    if (!Array.isArray(list)) return this.place(key).fail(`expected a list, found ${quote(value)}`)
    if (length !== undefined && list.length !== length)
      this.place(key).fail(`has ${list.length} entries for ${length} tokens`)
    const bad = list.findIndex((item) => typeof item !== of || Number.isNaN(item))
    if (bad >= 0)
      this.place(key)
        .at(bad)
        .fail(`expected a ${of}, found ${quote(list[bad])}`)
    return list as (T extends 'string' ? string : number)[]
  }

  tokenId(key: string, vocabulary: Vocabulary): number | undefined {
    const id = this.get(key)
    if (id === undefined || noToken.includes(id as number)) return undefined
    return typeof id === 'number' && vocabulary.tokens[id] !== undefined
      ? id
      : this.place(key).fail(`${quote(id)} is not a token id`)
  }
}

/** `tokenizer.chat_template`, and beside it named ones such as `tokenizer.chat_template.tool_use`. */
export function chatTemplate(
  metadata: Readonly<Record<string, unknown>>,
  file: string,
): ChatTemplate | undefined {
  const key = 'tokenizer.chat_template'
  const named: Record<string, string> = {}
  for (const [name, value] of Object.entries(metadata)) {
    if (value == null || (name !== key && !name.startsWith(`${key}.`))) continue
    if (typeof value !== 'string') new Place(file, name).fail(`expected a string, found ${quote(value)}`)
    else named[name.slice(key.length + 1) || 'default'] = value
  }
  const names = Object.keys(named)
  if (names.length === 0) return undefined
  return names.length === 1 && named.default !== undefined ? named.default : named
}

export function readVocabulary(meta: GgufMetadata) {
  const tokens = meta.list('tokens', 'string') ?? meta.place('tokens').fail('is missing')
  if (tokens.length > maxVocabulary) meta.place('tokens').fail(`${tokens.length} tokens are too many`)
  const vocabulary = new Vocabulary()
  // llama.cpp names empty tokens so, too: there may be several.
  tokens.forEach((token, id) => {
    vocabulary.add(token === '' ? `[EMPTY_${id}]` : token, id, meta.place('tokens').at(id))
  })
  const typeList = meta.list('token_type', 'number', tokens.length)
  const typeOf = (id: number) => typeList?.[id] ?? tokenTypes.normal
  const addedTokens: AddedToken[] = []
  for (const [content, id] of vocabulary.ids) {
    const type = typeOf(id)
    if (type !== tokenTypes.control && type !== tokenTypes.unknown && type !== tokenTypes.userDefined)
      continue
    const special = type !== tokenTypes.userDefined
    addedTokens.push({
      id,
      content,
      singleWord: false,
      leftStrip: false,
      rightStrip: false,
      normalized: false,
      special,
    })
  }
  return { vocabulary, typeOf, addedTokens }
}

export function specialIds(
  meta: GgufMetadata,
  vocabulary: Vocabulary,
  defaults: Partial<SpecialIds>,
): SpecialIds {
  const find = (key: string, byDefault: number | undefined) =>
    meta.get(key) === undefined && byDefault !== undefined && byDefault < vocabulary.size
      ? byDefault
      : meta.tokenId(key, vocabulary)
  return {
    bos: find('bos_token_id', defaults.bos),
    eos: find('eos_token_id', defaults.eos),
    unk: find('unknown_token_id', defaults.unk),
    pad: find('padding_token_id', undefined),
  }
}

/** Ids before and after a text. */
export function surroundings(meta: GgufMetadata, special: SpecialIds, addBosByDefault: boolean) {
  const ids = (key: string, byDefault: boolean, id: number | undefined): number[] => {
    if (!(meta.flag(key) ?? byDefault)) return []
    return id === undefined ? meta.place(key).fail('is true, but there is no such token') : [id]
  }
  return {
    prefix: ids('add_bos_token', addBosByDefault, special.bos),
    suffix: ids('add_eos_token', false, special.eos),
  }
}
