/** Plots as SVG, drawn by Observable Plot on a document of its own: no browser is needed. */
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** A picture stands alone: dark on white, whatever the page around it looks like. */
export const background = 'white'
export const ink = '#222'
export const font = 'font-family="system-ui, sans-serif"'

export interface Series {
  readonly name: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface LinesOptions {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly logX?: boolean
  readonly logY?: boolean
}

export interface Bar {
  readonly name: string
  readonly mean: number
  /** Half of the length of the whisker; none where there is one value alone. */
  readonly spread: number
  readonly values?: readonly number[]
}

/** One curve a series. */
export function lines(series: readonly Series[], { title, x, y, logX, logY }: LinesOptions): string {
  const points = series.flatMap(({ name, points }) => points.map((point) => ({ ...point, name })))
  return svg({
    title,
    x: { label: x, ...axis(logX) },
    y: { label: y, ...axis(logY), grid: true },
    color: { legend: series.length > 1, domain: series.map(({ name }) => name) },
    marks: [Plot.line(points, { x: 'x', y: 'y', stroke: 'name' })],
    marginLeft: 56,
  })
}

/** Plot writes 840m for 0.84 on logarithmic axes. */
const axis = (log: boolean | undefined): Plot.ScaleOptions =>
  log ? { type: 'log', tickFormat: '~g' } : { type: 'linear' }

/** One bar a name, its whisker mean ± spread, and the single values as points. */
export function bars(rows: readonly Bar[], { title, metric }: { title: string; metric: string }): string {
  const names = rows.map(({ name }) => name)
  const values = rows.flatMap(({ name, values = [] }) => values.map((value) => ({ name, value })))
  return svg({
    title,
    marginLeft: 24 + 6.2 * Math.max(...names.map(({ length }) => length)),
    height: 60 + 34 * rows.length,
    x: { label: metric, grid: true, nice: true, ...span(rows) },
    y: { label: null, domain: names },
    marks: [
      Plot.ruleY(rows, { y: 'name', x1: low, x2: high, strokeWidth: 2 }),
      Plot.dot(values, { y: 'name', x: 'value', r: 2.5, fillOpacity: 0.45, fill: 'currentColor' }),
      Plot.tickX(rows, {
        y: 'name',
        x: 'mean',
        strokeWidth: 3,
        stroke: 'steelblue',
        insetTop: 6,
        insetBottom: 6,
      }),
    ],
  })
}

const low = ({ mean, spread }: Bar): number => mean - spread
const high = ({ mean, spread }: Bar): number => mean + spread

/** From zero where that does not hide the differences. */
function span(rows: readonly Bar[]): { domain: [number, number] } {
  const all = rows.flatMap((row) => [low(row), high(row), ...(row.values ?? [])])
  const [least, most] = [Math.min(...all), Math.max(...all)]
  const room = (most - least || Math.abs(most) || 1) * 0.08
  return { domain: [least - room, most + room] }
}

/** A document that stands alone: black on white, whatever the page around it looks like. */
function svg({ title, ...options }: Plot.PlotOptions & { readonly title: string }): string {
  const { document } = parseHTML('<html><body></body></html>')
  const figure = Plot.plot({
    ...options,
    document: document as never,
    style: { background: 'white', color: '#222', fontFamily: 'system-ui, sans-serif' } as never,
  })
  const found = [...figure.querySelectorAll('svg')]
  const chart = figure.localName === 'svg' ? figure : found.at(-1)!
  chart.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  const height = Number(chart.getAttribute('height'))
  const width = Number(chart.getAttribute('width'))
  const legend = legendOf(options)
  const top = 30 + (legend ? 18 : 0)
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + top}" viewBox="0 0 ${width} ${height + top}">` +
    `<rect width="100%" height="100%" fill="white"/>` +
    `<text x="12" y="20" font-family="system-ui, sans-serif" font-size="13" font-weight="600" fill="#222">${escaped(title)}</text>` +
    `${legend}<g transform="translate(0,${top})">${chart.outerHTML}</g></svg>\n`
  )
}

const palette = [
  '#4269d0',
  '#efb118',
  '#ff725c',
  '#6cc5b0',
  '#3ca951',
  '#ff8ab7',
  '#a463f2',
  '#97bbf5',
  '#9c6b4e',
  '#9498a0',
]

/** The names of the curves in their colours: those of Plot's scheme, which are these. */
function legendOf({ color }: Plot.PlotOptions): string {
  if (!color?.legend) return ''
  let x = 12
  return [...(color.domain as string[])]
    .map((name, i) => {
      const at = x
      x += 26 + 6.4 * name.length
      const fill = palette[i % palette.length]
      return (
        `<rect x="${at}" y="30" width="10" height="10" fill="${fill}"/>` +
        `<text x="${at + 14}" y="39" font-family="system-ui, sans-serif" font-size="11" fill="#222">${escaped(name)}</text>`
      )
    })
    .join('')
}

/** Text inside of XML, which has no control characters and no half of a pair. */
export const escaped = (text: string): string =>
  text
    .replace(/[^\P{C}\u{200c}\u{200d}]/gu, '\ufffd')
    .replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)
