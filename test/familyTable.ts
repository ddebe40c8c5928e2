/** The table in docs/families.md: every column is written by the test that shows what stands in it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { fixture } from './reference.ts'

/** The columns that have been shown, by family. */
export type Shown = Map<string, Set<string>>

const file = fileURLToPath(new URL('../docs/families.md', import.meta.url))
const between = /(?<=<!-- begin -->\n)[\s\S]*(?=\n<!-- end -->)/

/** Notes what has passed on the checkpoint in a folder of `fixtures/families`. */
export function addTo(shown: Shown, folder: string, ...columns: readonly string[]): void {
  const config: { model_type: string } = JSON.parse(
    readFileSync(fixture(`families/${folder}/config.json`), 'utf8'),
  )
  const known = shown.get(config.model_type) ?? new Set()
  for (const column of columns) known.add(column)
  shown.set(config.model_type, known)
}

const cellsOf = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())

/** The table with these columns as they have been shown, and the others as they were. */
function withColumns(table: string, columns: readonly string[], shown: Shown): string {
  const [header = '', , ...lines] = table.split('\n')
  const old = cellsOf(header).slice(1)
  const all = [...old, ...columns.filter((column) => !old.includes(column))]
  const rows: Shown = new Map()
  for (const line of lines) {
    const [family, ...cells] = cellsOf(line)
    const kept = old.filter((column, i) => cells[i] === 'yes' && !columns.includes(column))
    rows.set(family!, new Set(kept))
  }
  for (const [family, own] of shown) rows.set(family, new Set([...(rows.get(family) ?? []), ...own]))
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    line(['family', ...all]),
    line(['---', ...all.map(() => ':-:')]),
    ...[...rows]
      .filter(([, own]) => own.size > 0)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([family, own]) => line([family, ...all.map((column) => (own.has(column) ? 'yes' : ''))])),
  ].join('\n')
}

/** Throws unless these columns say what has been shown; with GLOSSA_UPDATE_DOCS=1 they are written instead. */
export function checkFamilies(columns: readonly string[], shown: Shown): void {
  const text = readFileSync(file, 'utf8')
  const updated = text.replace(between, (table) => withColumns(table, columns, shown))
  if (process.env.GLOSSA_UPDATE_DOCS) writeFileSync(file, updated)
  else expect(text, 'run with GLOSSA_UPDATE_DOCS=1 to write it anew').toBe(updated)
}
