/** SAEs in folders, whoever has written them. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ReadSae, readSaeLens, saeLensFiles } from './saeLens.ts'
import { readSparsify, sparsifyFiles } from './sparsify.ts'

/** Reads SAELens' or sparsify's folder, by the file that it has. */
export function readSae(folder: string): ReadSae {
  if (existsSync(join(folder, saeLensFiles.weights))) return readSaeLens(folder)
  if (existsSync(join(folder, sparsifyFiles.weights))) return { sae: readSparsify(folder), ignored: [] }
  throw new Error(
    `${folder}: has neither ${saeLensFiles.weights} (SAELens) nor ${sparsifyFiles.weights} (sparsify)`,
  )
}

export { type ReadSae, readSaeLens, type SaeLensOptions, writeSaeLens } from './saeLens.ts'
export { readSparsify, writeSparsify } from './sparsify.ts'
