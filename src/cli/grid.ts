/** Grids on a terminal: cells in colour. */

import { colours, domainOf, type HeatmapOptions, inkOn } from '../plot/index.ts'
import { coloured } from './terminal.ts'

/** Columns of a terminal; none where nobody looks. */
const columnsOf = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns || 80 : undefined)

export type Grid = Omit<HeatmapOptions, 'title'>

/** The grid as text, in as many parts below each other as the terminal needs. Without colours numbers stand alone. */
export function gridText({ rows, columns, values, texts, scale, domain }: Grid): string {
  const paint = colours(domain ?? domainOf(values, scale), scale)
  const content = rows.map((_, i) =>
    columns.map(
      (_, j) => texts?.[i]?.[j] ?? (Number.isFinite(values[i]![j]!) ? rounded(values[i]![j]!) : ''),
    ),
  )
  const widths = columns.map((name, j) => Math.max(...[name, ...content.map((row) => row[j]!)].map(lengthOf)))
  const margin = Math.max(...rows.map(lengthOf))
  const parts: number[][] = []
  let room = 0
  const most = columnsOf()
  for (const [j, width] of widths.entries()) {
    if (j === 0 || (most !== undefined && room - width - 1 < 0)) {
      parts.push([])
      room = (most ?? 0) - margin - 1
    }
    parts.at(-1)!.push(j)
    room -= width + 1
  }
  const cell = (i: number, j: number): string => {
    const text = ` ${content[i]![j]!}${' '.repeat(widths[j]! - lengthOf(content[i]![j]!))}`
    const value = values[i]![j]!
    if (!Number.isFinite(value)) return text
    const colour = paint(value)
    return coloured(text, colour, inkOn(colour))
  }
  return parts
    .map((part) => {
      const head = `${' '.repeat(margin)}${part.map((j) => ` ${columns[j]!}${' '.repeat(widths[j]! - lengthOf(columns[j]!))}`).join('')}`
      const lines = rows.map(
        (name, i) => `${' '.repeat(margin - lengthOf(name))}${name}${part.map((j) => cell(i, j)).join('')}`,
      )
      return `${[...lines, head].map((line) => line.trimEnd()).join('\n')}\n`
    })
    .join('\n')
}

/** Two digits, and no minus before nothing. */
const rounded = (value: number): string => value.toFixed(2).replace(/^-(?=0\.00$)/, '')

/** Columns that a text takes: wide characters take two. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
const lengthOf = (text: string): number =>
  [...text].reduce((sum, character) => sum + (wide.test(character) ? 2 : /\p{M}/u.test(character) ? 0 : 1), 0)
