/** Mean codes of texts under a sparse autoencoder: what prototypes and contrasts are made of. */
import { type Tensor, tensor } from '../array/index.ts'
import { encode, type Sae, type SaeParams } from '../interp/sae/sae.ts'
import type { Model } from '../model/index.ts'

export interface CodeOptions {
  /** All tokens but one that begins the text, or the last one; `all` by default. */
  readonly positions?: 'all' | 'last'
  /** Texts that run at once. */
  readonly batch?: number
  readonly signal?: AbortSignal | undefined
}

/** The mean of the codes at the SAE's site, f64 [d_sae]; texts, or rows of token ids of any length. */
export async function meanCode(
  model: Model,
  sae: Sae,
  texts: readonly (string | readonly number[])[],
  { positions = 'all', batch = 16, signal }: CodeOptions = {},
): Promise<Float64Array> {
  const { site, dIn, dSae } = sae.config
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  const rows = texts.map((text) => {
    if (typeof text !== 'string') return text
    if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer, which texts need`)
    return model.tokenizer.encode(text).ids
  })
  if (rows.length === 0) throw new Error('there are no texts to take the codes of')
  const empty = rows.findIndex((row) => row.length === 0)
  if (empty >= 0) throw new Error(`text ${empty + 1} is empty`)
  using summed = model.engine.jit(
    (params: SaeParams, x: Tensor, weights: Tensor) =>
      encode({ config: sae.config, params }, x).mul(weights.expandDims(-1)).sum([0, 1]),
    { name: 'codes', axes: [undefined, ['batch', 'time', null], ['batch', 'time']] },
  )
  const [sums, seen] = [new Float64Array(dSae), { count: 0 }]
  for (let from = 0; from < rows.length; from += batch) {
    signal?.throwIfAborted()
    const own = rows.slice(from, from + batch).map((row) => row.slice(0, model.context))
    const longest = Math.max(...own.map(({ length }) => length))
    const weights = new Float32Array(own.length * longest)
    own.forEach((row, i) => {
      const begins = row[0] === model.tokenizer?.bos && row.length > 1 ? 1 : 0
      const first = positions === 'last' ? row.length - 1 : begins
      weights.fill(1, i * longest + first, i * longest + row.length)
      seen.count += row.length - first
    })
    // Padding behind the tokens is hidden from them by the causal mask.
    const padded = own.map((row) => [...row, ...new Array<number>(longest - row.length).fill(0)])
    const read = await model.run(padded, { read: [site] })
    const x = read[site]!
    // Heads lie side by side already.
    const flat = tensor((await x.load()) as Float32Array, [own.length, longest, dIn])
    x.dispose()
    const part = await (await summed(sae.params, flat, tensor(weights, [own.length, longest]))).load()
    for (let i = 0; i < dSae; i++) sums[i]! += Number(part[i])
  }
  return sums.map((sum) => sum / seen.count)
}
