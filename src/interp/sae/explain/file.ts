/** explanations.json, beside an SAE's weights. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeAtomic } from '../../../store/file.ts'
import { type Explanations, parseExplanations } from './explanations.ts'

export { type Explanation, type Explanations, searchExplanations } from './explanations.ts'

export const explanationsFile = 'explanations.json'

export function writeExplanations(folder: string, explanations: Omit<Explanations, 'kind'>): string {
  const path = join(folder, explanationsFile)
  const { features, ...about } = explanations
  // One feature a line: such files are long, and are read by people too.
  const head = JSON.stringify({ kind: 'glossa explanations 1', ...about }).slice(0, -1)
  const lines = features.map((feature) => JSON.stringify(feature)).join(',\n')
  writeAtomic(path, (put) => put(Buffer.from(`${head},"features":[\n${lines}\n]}\n`)))
  return path
}

export function readExplanations(folder: string): Explanations {
  const path = join(folder, explanationsFile)
  if (!existsSync(path)) throw new Error(`${path}: there is no such file; glossa sae explain writes it`)
  return parseExplanations(readFileSync(path, 'utf8'), path)
}
