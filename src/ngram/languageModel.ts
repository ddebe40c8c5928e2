/** Language models over token ids that are no networks: what they share. */

export type TokenRow = ArrayLike<number>

/** Rows of a document each begin anew: the first token is predicted from the beginning alone. */
export interface TokenModel {
  readonly vocabulary: number
  /** log p(token | all before it in the row) in nats, for each token of a row, the first one too. */
  logProbabilities(row: TokenRow): Float64Array
  /** p(next | the row so far) for each token of the vocabulary; sums to 1. */
  distribution(row: TokenRow): Float64Array
}

/** The documents of a stream of tokens. `starts`: where each begins, the first at 0. */
export function documentsOf(stream: {
  readonly tokens: Int32Array | Uint16Array
  readonly starts: ArrayLike<number>
}): (Int32Array | Uint16Array)[] {
  const { tokens, starts } = stream
  return Array.from({ length: starts.length }, (_, i) =>
    tokens.subarray(starts[i]!, i + 1 < starts.length ? starts[i + 1]! : tokens.length),
  )
}

/** RangeError for a token outside of the vocabulary. */
export function checkToken(token: number, vocabulary: number): void {
  if (!(token >= 0 && token < vocabulary))
    throw new RangeError(`token ${token} is outside the vocabulary of ${vocabulary}`)
}

export interface HeldOut {
  /** Nats a token. */
  readonly loss: number
  readonly perplexity: number
  readonly bitsPerByte: number
  readonly tokens: number
}

/** How well a model predicts rows of tokens that stand for `bytes` bytes of text in all. */
export function heldOut(model: TokenModel, rows: Iterable<TokenRow>, bytes: number): HeldOut {
  let nats = 0
  let tokens = 0
  for (const row of rows) {
    const scores = model.logProbabilities(row)
    for (let i = 0; i < scores.length; i++) nats -= scores[i]!
    tokens += scores.length
  }
  if (tokens === 0) throw new Error('there are no tokens to predict')
  if (!(bytes > 0)) throw new RangeError(`the text of ${tokens} tokens has ${bytes} bytes`)
  return {
    loss: nats / tokens,
    perplexity: Math.exp(nats / tokens),
    bitsPerByte: nats / Math.LN2 / bytes,
    tokens,
  }
}
