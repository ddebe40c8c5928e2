import { parseHTML } from 'linkedom'
import { expect, it } from 'vitest'
import { colours, domainOf, heatmap, inkOn } from './heatmap.ts'

const options = {
  title: 'a < b',
  x: 'token',
  y: 'layer',
  value: 'KL (nats)',
  rows: ['1', '0'],
  columns: ['·a', '<b>', 'a very long name of a token'],
  values: [
    [0, 1, 2],
    [3, Number.NaN, 4],
  ],
}

it('has a cell for each value, and names everything', () => {
  const svg = heatmap({
    ...options,
    texts: [
      ['x', 'y', 'z'],
      ['u', '\u0007', 'w'],
    ],
  })
  const { document } = parseHTML(`<html><body>${svg}</body></html>`)
  const texts = [...document.querySelectorAll('text')].map((text) => text.textContent)
  for (const text of [
    'a < b',
    'token',
    'layer',
    'KL (nats)',
    '·a',
    '<b>',
    'a very long…',
    '0',
    '1',
    'x',
    'w',
    '\ufffd',
  ])
    expect(texts).toContain(text)
  expect(document.querySelector('svg > title')!.textContent).toBe('a < b')
  const cells = [...document.querySelectorAll('rect')].filter((rect) => rect.querySelector('title'))
  expect(cells).toHaveLength(6)
  expect(cells.map((cell) => cell.querySelector('title')!.textContent)).toContain('0, <b>: none')
  const fills = cells.map((cell) => cell.getAttribute('fill'))
  expect(new Set(fills).size).toBe(6)
  // Viridis from its first to its last colour.
  expect([fills[0], fills[5]]).toEqual(['rgb(68,1,84)', 'rgb(253,231,37)'])
})

it('diverging colours have the same distance to either side, and white between', () => {
  expect(domainOf([[-1, 3]], 'diverging')).toEqual([-3, 3])
  const paint = colours([-3, 3], 'diverging')
  expect(Math.min(...paint(0))).toBeGreaterThan(235)
  const [red, , blue] = paint(-3)
  expect(red).toBeGreaterThan(blue)
  expect(paint(9)).toEqual(paint(3))
})

it('a grid without numbers, or with one alone, has colours too', () => {
  expect(domainOf([[Number.NaN]])).toEqual([0, 1])
  expect(domainOf([[2, 2]])).toEqual([2, 3])
  expect(
    heatmap({
      ...options,
      values: [
        [5, 5, 5],
        [5, 5, 5],
      ],
    }),
  ).toContain('rgb(68,1,84)')
  expect(() => heatmap({ ...options, values: [[1]] })).toThrow('values are not 2 rows of 3')
})

it('text is dark on light and light on dark', () => {
  expect(inkOn([250, 240, 30])).toEqual([17, 17, 17])
  expect(inkOn([68, 1, 84])).toEqual([255, 255, 255])
})
