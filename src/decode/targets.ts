/** Generation with an encoder-decoder: sources are read once, targets grow from the start token. */
import { tensor } from '../array/index.ts'
import type { Seq2Seq, TapOptions } from '../model/index.ts'
import type { Generation } from './options.ts'
import type { GenerateEvent, Row } from './row.ts'

interface TargetContext {
  readonly ends: ReadonlySet<number>
  readonly signal?: AbortSignal
  readonly edit?: TapOptions['edit']
}

/**
 * Grows the rows, which hold the start token alone, until each has finished. Sources of a batch are padded at the
 * end, and the padding is hidden. A step costs the decoder over all of the target: there is no cache yet.
 */
export async function* generateTargets(
  model: Seq2Seq,
  sources: readonly (readonly number[])[],
  rows: readonly Row[],
  settings: Generation,
  { ends, signal, edit = {} }: TargetContext,
): AsyncGenerator<GenerateEvent, void, void> {
  if (settings.beams > 1)
    throw new Error('generation options: beams needs a decoder; an encoder-decoder takes 1')
  if (settings.promptLogprobs)
    throw new Error('generation options: promptLogprobs needs a decoder: an encoder predicts no prompt')
  const width = Math.max(...sources.map((source) => source.length))
  const padded = sources.map((source) => [...source, ...new Array<number>(width - source.length).fill(0)])
  const mask = tensor(
    Int32Array.from(
      sources.flatMap((source) => Array.from({ length: width }, (_, i) => Number(i < source.length))),
    ),
    [sources.length, width],
  )
  const memory = await model.encode(padded, { mask, edit })
  const { vocab, start } = model.spec
  while (rows.some(({ finish }) => finish === undefined)) {
    signal?.throwIfAborted()
    // All rows that go on are of one length; what follows in the others reaches nobody.
    const length = Math.max(...rows.map(({ tokens }) => tokens.length))
    const targets = model.rows(
      rows.map(({ tokens }) => [...tokens, ...new Array<number>(length - tokens.length).fill(start)]),
    )
    const next = await model.next({ memory, mask, targets }, { edit })
    const logits = (await next.load()) as Float32Array
    for (const [i, row] of rows.entries())
      if (row.finish === undefined)
        yield* row.advance(logits.slice(i * vocab, (i + 1) * vocab), i, settings, {
          ends,
          room: Number.POSITIVE_INFINITY,
        })
    next.dispose()
  }
  memory.dispose()
}
