/** Grids of coloured cells as SVG: layers by positions, heads by layers. */
import * as Plot from '@observablehq/plot'
import { background, escaped, font, ink } from './plot.ts'

export interface HeatmapOptions {
  readonly title: string
  /** Names of the axes. */
  readonly x: string
  readonly y: string
  /** What the colours are, with its unit. */
  readonly value: string
  readonly columns: readonly string[]
  /** From the top. */
  readonly rows: readonly string[]
  /** By row and column; NaN where there is none. */
  readonly values: readonly (readonly number[])[]
  /** What stands in the cells. */
  readonly texts?: readonly (readonly string[])[] | undefined
  /** `diverging` has white at 0 and the same distance to either side. */
  readonly scale?: 'sequential' | 'diverging'
  /** Least and greatest value that have a colour of their own; those of the data by default. */
  readonly domain?: readonly [number, number] | undefined
}

export type Colour = readonly [red: number, green: number, blue: number]

/** Ends of the colours for values: the least and greatest, and for diverging scales the same distance from 0. */
export function domainOf(
  values: readonly (readonly number[])[],
  scale: 'sequential' | 'diverging' = 'sequential',
): [number, number] {
  const all = values.flat().filter(Number.isFinite)
  if (all.length === 0) return scale === 'diverging' ? [-1, 1] : [0, 1]
  const [least, most] = all.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ] as [number, number])
  if (scale === 'diverging') {
    const size = Math.max(-least, most) || 1
    return [-size, size]
  }
  return least === most ? [least, least + 1] : [least, most]
}

/** Colours that people with any colour vision tell apart, and that keep their order in grey: viridis; red to blue. */
export function colours(
  domain: readonly [number, number],
  scale: 'sequential' | 'diverging' = 'sequential',
): (value: number) => Colour {
  const made = Plot.scale({
    color: {
      type: 'linear',
      scheme: scale === 'diverging' ? 'rdbu' : 'viridis',
      domain: [...domain],
      clamp: true,
    },
  })!
  return (value) => {
    const text = String(made.apply(value))
    const hex = /^#(..)(..)(..)$/.exec(text)
    if (hex) return hex.slice(1).map((part) => Number.parseInt(part, 16)) as unknown as Colour
    return (text.match(/[\d.]+/g) ?? ['0', '0', '0']).slice(0, 3).map(Number) as unknown as Colour
  }
}

/** Black or white, whichever is easier to read on a colour. */
export const inkOn = ([red, green, blue]: Colour): Colour =>
  0.299 * red + 0.587 * green + 0.114 * blue > 140 ? [17, 17, 17] : [255, 255, 255]

const css = (colour: Colour): string => `rgb(${colour.map(Math.round).join(',')})`

const size = 12
/** Width of a character at that size, of the widest fonts that stand in for one another. */
const character = 7.3
const rowHeight = 22
const widest = 12

const shortened = (text: string, most: number): string =>
  [...text].length > most ? `${[...text].slice(0, most - 1).join('')}…` : text
const widthOf = (text: string): number => character * [...text].length
const longest = (texts: readonly string[]): number => Math.max(0, ...texts.map(widthOf))

/** Numbers of a scale, with no more digits than tell them apart. */
function ticks([low, high]: readonly [number, number], count: number): { at: number; text: string }[] {
  const step = (high - low) / (count - 1)
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step)) + 1))
  return Array.from({ length: count }, (_, i) => {
    const at = low + i * step
    return { at, text: Math.abs(at) < step / 1e6 ? '0' : at.toFixed(digits) }
  })
}

export function heatmap(options: HeatmapOptions): string {
  const { title, x, y, value, columns, rows, values, scale = 'sequential' } = options
  if (values.length !== rows.length || values.some((row) => row.length !== columns.length))
    throw new RangeError(`heatmap: values are not ${rows.length} rows of ${columns.length}`)
  const domain = options.domain ?? domainOf(values, scale)
  const colour = colours(domain, scale)
  const texts = options.texts?.map((row) => row.map((text) => shortened(text, widest)))
  const names = columns.map((name) => shortened(name, widest))
  const cell = Math.max(26, 10 + longest((texts ?? []).flat()))
  const turned = longest(names) > cell - 6
  // Turned names begin left of their cell.
  const left = Math.max(44 + longest(rows), turned ? 10 + widthOf(names[0] ?? '') * 0.72 - cell / 2 : 0)
  const top = 40
  const [wide, high] = [cell * columns.length, rowHeight * rows.length]
  const below = turned ? 14 + longest(names) * 0.72 : 20
  const bar = { x: left + wide + 26, width: 14 }
  const marks = ticks(domain, 5)
  const right = bar.x + bar.width + 10 + longest(marks.map(({ text }) => text)) + 24
  const width = Math.ceil(Math.max(right, 24 + 7.5 * title.length))
  const height = Math.ceil(top + Math.max(high, 110) + below + 26)
  const barHeight = Math.max(high, 110)

  const text = (
    content: string,
    at: readonly [number, number],
    attributes: Readonly<Record<string, string | number>> = {},
  ): string => {
    const all = Object.entries({ x: at[0], y: at[1], ...attributes })
    return `<text ${all.map(([name, setting]) => `${name}="${setting}"`).join(' ')}>${escaped(content)}</text>`
  }
  const middle = { 'text-anchor': 'middle' }
  const cells = values.flatMap((row, i) =>
    row.map((number, j) => {
      const [cx, cy] = [left + j * cell, top + i * rowHeight]
      const known = Number.isFinite(number)
      const paint = known ? colour(number) : ([232, 232, 232] as const)
      const content = texts?.[i]?.[j]
      return (
        `<rect x="${cx}" y="${cy}" width="${cell}" height="${rowHeight}" fill="${css(paint)}" stroke="${background}" stroke-width="1">` +
        `<title>${escaped(`${rows[i]}, ${columns[j]}: ${known ? number.toPrecision(4) : 'none'}`)}</title></rect>` +
        (content
          ? text(content, [cx + cell / 2, cy + rowHeight / 2 + 4], { ...middle, fill: css(inkOn(paint)) })
          : '')
      )
    }),
  )
  const rowNames = rows.map((name, i) =>
    text(name, [left - 8, top + i * rowHeight + rowHeight / 2 + 4], { 'text-anchor': 'end' }),
  )
  const columnNames = names.map((name, j) => {
    const at = [left + (j + 0.5) * cell, top + high + 16] as const
    return turned
      ? text(name, at, { 'text-anchor': 'end', transform: `rotate(-45 ${at[0]} ${at[1]})` })
      : text(name, at, middle)
  })
  const stops = Array.from({ length: 17 }, (_, i) => {
    const share = i / 16
    return `<stop offset="${share}" stop-color="${css(colour(domain[0] + share * (domain[1] - domain[0])))}"/>`
  })
  const barText = marks.map(({ at, text: label }) => {
    const share = (at - domain[0]) / (domain[1] - domain[0])
    return text(label, [bar.x + bar.width + 6, top + barHeight * (1 - share) + 4])
  })
  const side = (content: string, at: readonly [number, number]): string =>
    text(content, at, { ...middle, transform: `rotate(-90 ${at[0]} ${at[1]})` })
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ${font} font-size="${size}" fill="${ink}">` +
    `<title>${escaped(title)}</title>` +
    `<defs><linearGradient id="scale" x1="0" y1="1" x2="0" y2="0">${stops.join('')}</linearGradient></defs>` +
    `<rect width="100%" height="100%" fill="${background}"/>` +
    text(title, [12, 22], { 'font-size': 13, 'font-weight': 600 }) +
    cells.join('') +
    `<rect x="${left}" y="${top}" width="${wide}" height="${high}" fill="none" stroke="#999"/>` +
    rowNames.join('') +
    columnNames.join('') +
    text(x, [left + wide / 2, top + high + below + 16], middle) +
    side(y, [20, top + high / 2]) +
    `<rect x="${bar.x}" y="${top}" width="${bar.width}" height="${barHeight}" fill="url(#scale)"/>` +
    barText.join('') +
    side(value, [width - 10, top + barHeight / 2]) +
    `</svg>\n`
  )
}
