/** Tokens as a page shows them; in a browser too. */
import type { Model } from '../../model/index.ts'

const utf8 = new TextDecoder()

/** The text of each token; what is no whole character is shown as such. Control tokens by name. */
export const pieces = ({ tokenizer }: Model, ids: readonly number[]): string[] =>
  ids.map((id) => {
    if (!tokenizer) return `#${id}`
    return tokenizer.isSpecial(id) ? tokenizer.token(id) : utf8.decode(tokenizer.bytes(id))
  })
