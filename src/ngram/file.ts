/** Kneser-Ney models as safetensors files: per order the sorted n-grams, the discounts beside them. */
import * as z from 'zod'
import { FileError, openSafetensors, readBytes, writeSafetensors } from '../store/index.ts'
import type { Level } from './counts.ts'
import { type Discounts, KneserNey } from './kneserNey.ts'

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
  const { metadata, tensors } = openSafetensors(path)
  const parsed = header.safeParse(metadata)
  if (!parsed.success)
    throw new FileError(path, 0, `is no Kneser-Ney model: ${z.prettifyError(parsed.error)}`)
  const { vocabulary, discounts } = parsed.data
  const levels = discounts.map((_, at) => {
    const [starts, tokens, counts] = parts.map((part) => {
      const entry = tensors.get(`${at + 1}.${part}`)
      if (entry?.type !== 'i32') throw new FileError(path, 0, `has no integers '${at + 1}.${part}'`)
      const bytes = readBytes(entry)
      return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    })
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
