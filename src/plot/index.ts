/** Plots for people. */
export { type Bar, bars, type LinesOptions, lines, type Series } from './plot.ts'
