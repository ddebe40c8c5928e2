/** Plots for people. */
export { type Colour, colours, domainOf, type HeatmapOptions, heatmap, inkOn } from './heatmap.ts'
export { type Bar, bars, type LinesOptions, lines, type Series } from './plot.ts'
