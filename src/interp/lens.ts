/**
 * Lenses: what the model would say if it stopped after a block. The residual stream h after some blocks is translated
 * into that after the last block, and read as that is:
 *
 *   logit lens (nostalgebraist 2020)     h
 *   tuned lens (Belrose et al. 2023)     h + W h + b
 *   linear shortcut (Din et al. 2023)    W h
 *
 * A lens is data; `LensReader` reads through any of them. At the last block all are the model's own logits.
 */
import { crossEntropy, logSoftmax, type Tensor, tensor } from '../array/index.ts'
import type { Model, Pass, TokenRows } from '../model/index.ts'
import { loaded, readOut, streamSites } from './streams.ts'

export const lensKinds = ['logit', 'tuned', 'shortcut'] as const
export type LensKind = (typeof lensKinds)[number]

export interface Translator {
  /** [width, width], outputs first. */
  readonly weight: Tensor
  /** [width] */
  readonly bias?: Tensor | undefined
}

export interface Lens {
  readonly kind: LensKind
  /** For the stream after 0 to layers - 1 blocks; none in the logit lens. */
  readonly translators?: readonly Translator[] | undefined
}

export const logitLens: Lens = { kind: 'logit' }

/** A stream [..., width] as a lens of this kind takes it for the last one. */
export function translate(kind: LensKind, translator: Translator | undefined, h: Tensor): Tensor {
  if (!translator) return h
  const product = h.matmul(translator.weight, { transposeB: true })
  const mapped = translator.bias ? product.add(translator.bias) : product
  return kind === 'tuned' ? h.add(mapped) : mapped
}

export interface LensCell {
  /** The likeliest tokens, most likely first. */
  readonly top: readonly { readonly id: number; readonly probability: number }[]
  /** Nats. */
  readonly entropy: number
  /** KL(final ‖ lens) in nats: 0 where the lens says what the model says. */
  readonly divergence: number
  /** −log of what the model gives the lens's most likely token, in nats. */
  readonly surprisal: number
  /** −log of what the lens gives the token that comes next; undefined at the last position. */
  readonly crossEntropy: number | undefined
  /** Place of that token among all by probability, 1 for the most likely. */
  readonly rank: number | undefined
}

type Column = 'entropy' | 'divergence' | 'surprisal' | 'crossEntropy' | 'rank'
const columns: readonly Column[] = ['entropy', 'divergence', 'surprisal', 'crossEntropy', 'rank']

/** What a lens has read: numbers by count of blocks and by position, rows of tokens one behind the other. */
export class LensReading {
  readonly kind: LensKind
  /** Of the model: cells are of 0 to `layers` blocks. */
  readonly layers: number
  readonly tokens: Int32Array
  /** Tokens of a row. */
  readonly time: number
  readonly topCount: number
  /** [positions, topCount] by count of blocks. */
  readonly ids: readonly Int32Array[]
  readonly probabilities: readonly Float32Array[]
  /** [positions] by count of blocks. What is about the next token has no meaning at the end of a row. */
  readonly columns: readonly Readonly<Record<Column, Float32Array>>[]

  constructor(kind: LensKind, tokens: Int32Array, time: number, topCount: number, layers: number) {
    const each = <T>(make: () => T): T[] => Array.from({ length: layers + 1 }, make)
    this.kind = kind
    this.tokens = tokens
    this.time = time
    this.topCount = topCount
    this.layers = layers
    this.ids = each(() => new Int32Array(tokens.length * topCount))
    this.probabilities = each(() => new Float32Array(tokens.length * topCount))
    this.columns = each(
      () =>
        Object.fromEntries(columns.map((name) => [name, new Float32Array(tokens.length)])) as Record<
          Column,
          Float32Array
        >,
    )
  }

  /** `blocks` from 0 to the number of layers. */
  cell(blocks: number, position: number): LensCell {
    const [ids, probabilities, numbers] = [this.ids[blocks], this.probabilities[blocks], this.columns[blocks]]
    if (!ids || !probabilities || !numbers || !(position >= 0 && position < this.tokens.length))
      throw new RangeError(
        `there is no cell after ${blocks} blocks at position ${position}: there are 0 to ${this.layers} blocks and ${this.tokens.length} positions`,
      )
    const { entropy, divergence, surprisal, crossEntropy, rank } = numbers
    const last = (position + 1) % this.time === 0
    const from = position * this.topCount
    return {
      top: Array.from(ids.subarray(from, from + this.topCount), (id, i) => ({
        id,
        probability: probabilities[from + i]!,
      })),
      entropy: entropy[position]!,
      divergence: divergence[position]!,
      surprisal: surprisal[position]!,
      crossEntropy: last ? undefined : crossEntropy[position]!,
      rank: last ? undefined : rank[position]!,
    }
  }
}

export interface LensOptions {
  /** Tokens of a cell; 5 by default. */
  readonly top?: number
}

/** Logits that are held at a time, by number of elements: positions are read in pieces. */
const mostLogits = 2 ** 24

interface ReadArguments {
  /** [n, width] after 0 to all blocks. */
  readonly streams: readonly Tensor[]
  readonly translators?: readonly Translator[] | undefined
  /** i32 [n] */
  readonly targets: Tensor
}
type ReadRow = { readonly [K in 'ids' | 'probabilities' | Column]: Tensor }

/** A model seen through a lens: one forward pass, and one program for all layers. */
export class LensReader {
  readonly model: Model
  readonly lens: Lens
  readonly #top: number
  readonly #read: ReturnType<typeof compileReading>

  constructor(model: Model, lens: Lens = logitLens, { top = 5 }: LensOptions = {}) {
    checkLens(lens, model)
    if (!(Number.isInteger(top) && top > 0 && top <= model.spec.vocab))
      throw new RangeError(`top is a number of tokens from 1 to ${model.spec.vocab}, not ${top}`)
    this.model = model
    this.lens = lens
    this.#top = top
    this.#read = compileReading(model, lens.kind, top)
  }

  /** Rows of equal length. */
  async read(rows: TokenRows, onProgress?: (done: number, of: number) => void): Promise<LensReading> {
    const { model, lens } = this
    const { layers, width, vocab } = model.spec
    const sites = streamSites(model.spec)
    const input = model.rows(rows)
    const [batch, time] = input.sizes as [number, number]
    const reads = await model.run(input, { read: sites })
    await loaded(reads)
    const streams = sites.map((site) => ownPositions(reads[site]!, time, width))
    const tokens = Int32Array.from(input.data as Int32Array)
    const targets = tokens.map((_, i) => tokens[i + 1] ?? 0)
    const reading = new LensReading(lens.kind, tokens, time, this.#top, layers)
    const count = batch * time
    const step = Math.max(1, Math.floor(mostLogits / vocab))
    for (let from = 0; from < count; from += step) {
      const to = Math.min(from + step, count)
      const rowsOut = await this.#read({
        streams: streams.map((data) => tensor(data.subarray(from * width, to * width), [to - from, width])),
        translators: lens.translators,
        targets: tensor(targets.subarray(from, to), [to - from]),
      })
      await loaded(rowsOut)
      rowsOut.forEach((row, blocks) => {
        reading.ids[blocks]!.set(row.ids.data as Int32Array, from * this.#top)
        reading.probabilities[blocks]!.set(row.probabilities.data as Float32Array, from * this.#top)
        for (const name of columns) reading.columns[blocks]![name].set(row[name].data as Float32Array, from)
        for (const part of Object.values(row)) part.dispose()
      })
      onProgress?.(to, count)
    }
    for (const site of sites) reads[site]!.dispose()
    return reading
  }

  dispose(): void {
    this.#read.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** The rows of tokens in [batch, P + T, width], without those of a soft prompt before them. */
function ownPositions(stream: Tensor, time: number, width: number): Float32Array {
  const [batch, length] = stream.sizes as [number, number]
  const data = stream.data as Float32Array
  if (length === time) return data
  const own = new Float32Array(batch * time * width)
  for (let row = 0; row < batch; row++)
    own.set(
      data.subarray((row * length + length - time) * width, (row + 1) * length * width),
      row * time * width,
    )
  return own
}

function compileReading(model: Model, kind: LensKind, top: number) {
  const { spec } = model
  return model.compile(
    'lens',
    [{ streams: ['positions', null], targets: ['positions'] }],
    ({ params }: Pass, { streams, translators, targets }: ReadArguments): ReadRow[] => {
      const read = (h: Tensor): Tensor => readOut(spec, params, h)
      const final = logSoftmax(read(streams.at(-1)!))
      return streams.map((stream, blocks) => {
        const logits = read(translate(kind, translators?.[blocks], stream)) // [n, vocab]
        const logp = logSoftmax(logits)
        const { values, indices } = logp.topK(top)
        const own = logits.gatherElements(targets.expandDims(-1), -1)
        return {
          ids: indices,
          probabilities: values.exp(),
          entropy: logp.exp().mul(logp).sum(-1).neg(),
          divergence: final.exp().mul(final.sub(logp)).sum(-1),
          surprisal: final
            .gatherElements(indices.slice(-1, 0, 1), -1)
            .sum(-1)
            .neg(),
          crossEntropy: crossEntropy(logits, targets),
          rank: logits.greater(own).cast('f32').sum(-1).add(1),
        }
      })
    },
  )
}

/** Throws where a lens is not one for this model. */
export function checkLens({ kind, translators }: Lens, { spec, path }: Pick<Model, 'spec' | 'path'>): void {
  if ((kind === 'logit') === (translators !== undefined))
    throw new Error(
      kind === 'logit'
        ? 'the logit lens has no translators'
        : `a ${kind} lens has translators: fit or load one`,
    )
  if (!translators) return
  if (translators.length !== spec.layers)
    throw new Error(
      `this lens has ${translators.length} translators, for as many layers; ${path} has ${spec.layers}`,
    )
  for (const [layer, { weight, bias }] of translators.entries())
    if (`${weight.sizes}` !== `${[spec.width, spec.width]}` || (bias && `${bias.sizes}` !== `${spec.width}`))
      throw new Error(
        `translator ${layer} of this lens is [${weight.sizes.join(', ')}]; the stream of ${path} is ${spec.width} wide`,
      )
}
