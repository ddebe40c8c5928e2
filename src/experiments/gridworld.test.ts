import { expect, test } from 'vitest'
import {
  drawGrid,
  endToken,
  gridPrompt,
  gridRow,
  longestWay,
  rowLength,
  shortestWay,
  wayOf,
} from './gridworld.ts'

/**
 * Cells of the grid of five by five:
 *
 *    0  1  2  3  4
 *    5  6  7  8  9
 */
test('the shortest way goes sideways first, and around what is closed', () => {
  expect(shortestWay(0, 7, [])).toEqual([0, 1, 2, 7])
  expect(shortestWay(0, 7, [2])).toEqual([0, 1, 6, 7])
  expect(shortestWay(0, 2, [1])).toEqual([0, 5, 6, 7, 2])
  expect(shortestWay(0, 7, [1, 5])).toBeUndefined()
})

test('a way is told from another, and from one that is broken', () => {
  const grid = { start: 0, goal: 2, lava: [1, 20, 22, 24], ways: { safe: [0, 5, 6, 7, 2], short: [0, 1, 2] } }
  expect(wayOf(grid, [1, 2, endToken])).toBe('short')
  expect(wayOf(grid, [5, 6, 7, 2, endToken])).toBe('safe')
  // It jumps, does not arrive, walks on, leaves the grid at its right side, or has no end.
  for (const broken of [
    [2, endToken],
    [5, endToken],
    [1, 2, 3, endToken],
    [1, 2, 3, 4, 5, endToken],
    [1, 2],
  ])
    expect(wayOf(grid, broken)).toBe('broken')
})

test('drawn grids have a safe way and a short one through lava, and fit a row', () => {
  for (let seed = 0; seed < 300; seed++) {
    const grid = drawGrid(seed)
    expect(new Set([grid.start, grid.goal, ...grid.lava]).size).toBe(6)
    expect(grid.ways.safe.length).toBeLessThanOrEqual(longestWay)
    for (const way of ['safe', 'short'] as const) {
      const row = gridRow(grid, 'any', way)
      expect(row).toHaveLength(rowLength)
      const prompt = gridPrompt(grid, 'any')
      expect(row.slice(0, prompt.length)).toEqual(prompt)
      expect(wayOf(grid, row.slice(prompt.length))).toBe(way)
      expect(row.at(-1)).toBe(endToken)
    }
  }
})
