/** Tokens in the terminal: how they are shown, and how one is named. */
import type { Model } from '../model/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { UsageError } from './verb.ts'

/** A token as it can be told from others: spaces and line breaks are seen. */
export function visible(text: string): string {
  const shown = text.replace(/ /g, '·').replace(/\n/g, '↵').replace(/\t/g, '→')
  return shown === '' ? '∅' : shown.replace(/\p{C}/gu, '\ufffd')
}

export const tokenText = (tokenizer: Tokenizer | undefined, id: number): string =>
  tokenizer ? visible(tokenizer.decode([id])) : `${id}`

/** All tokens of a text, with what is between them. */
export const tokensText = ({ tokenizer }: Pick<Model, 'tokenizer'>, ids: readonly number[]): string =>
  ids.map((id) => tokenText(tokenizer, id)).join('|')

/** The id of a text that is one token, or of `#ID`. */
export function oneToken(model: Model, text: string, flag: string): number {
  const { tokenizer, spec, path } = model
  const given = /^#(\d+)$/.exec(text)
  if (given) {
    const id = Number(given[1])
    if (id >= spec.vocab) throw new UsageError(`${flag} ${text}: the vocabulary has ${spec.vocab} tokens`)
    return id
  }
  if (!tokenizer) throw new Error(`${path} has no tokenizer: give ${flag} as #ID`)
  const { ids } = tokenizer.encode(text, { addSpecialTokens: false })
  if (ids.length !== 1)
    throw new UsageError(
      `${flag} '${text}' is ${ids.length} tokens, ${tokensText(model, ids)}: give one${/^\s/.test(text) ? '' : `, perhaps with a space before it, ' ${text}'`}, or #ID (#${ids[0]} is ${tokenText(tokenizer, ids[0]!)})`,
    )
  return ids[0]!
}
