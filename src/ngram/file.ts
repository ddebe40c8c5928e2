/** Models of counts as safetensors files: sorted n-grams per order, or features, pairs and their entries. */
import * as z from 'zod'
import { type Checkpoint, FileError, openSafetensors, readBytes, writeSafetensors } from '../store/index.ts'
import type { Level } from './counts.ts'
import { Features, skipGramSchema } from './features.ts'
import { type Discounts, KneserNey } from './kneserNey.ts'
import { SparseMatrixModel } from './snm.ts'
import { PairTable } from './table.ts'

const parts = ['starts', 'tokens', 'counts'] as const

const header = z.object({
  format: z.literal('glossa kneser-ney 1'),
  vocabulary: z.coerce.number().int().positive(),
  discounts: z
    .string()
    .transform((text) => JSON.parse(text))
    .pipe(z.array(z.tuple([z.number(), z.number(), z.number()])).nonempty()),
})

export function saveKneserNey(path: string, model: KneserNey): void {
  const tensors = model.levels.flatMap((level, at) =>
    parts.map((part) => ({
      name: `${at + 1}.${part}`,
      dtype: 'i32' as const,
      shape: [level[part].length],
      data: level[part],
    })),
  )
  writeSafetensors(path, tensors, {
    format: 'glossa kneser-ney 1',
    vocabulary: `${model.vocabulary}`,
    discounts: JSON.stringify(model.discounts),
  })
}

/** FileError for a file that is something else, or whose n-grams do not fit together. */
export function loadKneserNey(path: string): KneserNey {
  const checkpoint = openSafetensors(path)
  const parsed = header.safeParse(checkpoint.metadata)
  if (!parsed.success)
    throw new FileError(path, 0, `is no Kneser-Ney model: ${z.prettifyError(parsed.error)}`)
  const { vocabulary, discounts } = parsed.data
  const levels = discounts.map((_, at) => {
    const [starts, tokens, counts] = parts.map((part) => integers(checkpoint, `${at + 1}.${part}`))
    return { starts: starts!, tokens: tokens!, counts: counts! }
  })
  for (const [at, level] of levels.entries()) check(path, level, at + 1, levels[at - 1]?.tokens.length ?? 1)
  return new KneserNey(vocabulary, levels, discounts as readonly Discounts[])
}

function check(path: string, { starts, tokens, counts }: Level, order: number, contexts: number): void {
  const sorted = starts.every((start, i) => i === 0 || start >= starts[i - 1]!)
  if (
    starts.length !== contexts + 1 ||
    starts[0] !== 0 ||
    starts[contexts] !== tokens.length ||
    counts.length !== tokens.length ||
    !sorted
  )
    throw new FileError(path, 0, `its n-grams of order ${order} do not fit those of order ${order - 1}`)
}

const snmHeader = z.object({
  format: z.literal('glossa snm 1'),
  vocabulary: z.coerce.number().int().positive(),
  order: z.coerce.number().int().positive(),
  floor: z.coerce.number().min(0).max(1),
  skipGrams: z
    .string()
    .transform((text) => JSON.parse(text))
    .pipe(z.array(skipGramSchema)),
})

export function saveSnm(path: string, model: SparseMatrixModel): void {
  const { features, pairs, entries, vocabulary, floor } = model
  const list = (name: string, data: Int32Array | Float32Array) => ({
    name,
    dtype: data instanceof Int32Array ? ('i32' as const) : ('f32' as const),
    shape: [data.length],
    data,
  })
  writeSafetensors(
    path,
    [
      list('features.contexts', features.table.contexts),
      list('features.tokens', features.table.tokens),
      list('pairs.features', pairs.contexts),
      list('pairs.tokens', pairs.tokens),
      list('entries', entries),
    ],
    {
      format: 'glossa snm 1',
      vocabulary: `${vocabulary}`,
      order: `${features.order}`,
      floor: `${floor}`,
      skipGrams: JSON.stringify(features.skipGrams),
    },
  )
}

/** FileError for a file that is something else, or whose parts do not fit together. */
export function loadSnm(path: string): SparseMatrixModel {
  const checkpoint = openSafetensors(path)
  const parsed = snmHeader.safeParse(checkpoint.metadata)
  if (!parsed.success) throw new FileError(path, 0, `is no SNM model: ${z.prettifyError(parsed.error)}`)
  const { vocabulary, order, floor, skipGrams } = parsed.data
  const table = tableOf(checkpoint, 'features.contexts', 'features.tokens')
  const pairs = tableOf(checkpoint, 'pairs.features', 'pairs.tokens')
  const features = new Features(order, skipGrams, vocabulary, table)
  const entry = checkpoint.tensors.get('entries')
  if (entry?.type !== 'f32' || entry.bytes !== pairs.size * 4)
    throw new FileError(path, 0, `has no ${pairs.size} numbers 'entries'`)
  const outside = pairs.contexts.some((feature) => feature < 0 || feature >= features.size)
  if (outside) throw new FileError(path, 0, `has entries of features that are not there`)
  const bytes = readBytes(entry)
  return new SparseMatrixModel(vocabulary, floor, features, pairs, new Float32Array(bytes.buffer))
}

/** Pairs in the order of their numbers, which they get again. */
function tableOf(checkpoint: Checkpoint, contexts: string, tokens: string): PairTable {
  const [first, second] = [integers(checkpoint, contexts), integers(checkpoint, tokens)]
  const table = new PairTable()
  for (let i = 0; i < first.length; i++) table.add(first[i]!, second[i]!)
  if (first.length !== second.length || table.size !== first.length)
    throw new FileError(checkpoint.path, 0, `'${contexts}' and '${tokens}' are no list of different pairs`)
  return table
}

function integers({ path, tensors }: Checkpoint, name: string): Int32Array {
  const entry = tensors.get(name)
  if (entry?.type !== 'i32') throw new FileError(path, 0, `has no integers '${name}'`)
  return new Int32Array(readBytes(entry).buffer)
}
