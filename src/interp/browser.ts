/** What needs no files: looking inside in a browser. */
export * from './attention.ts'
export * from './attribute.ts'
export * from './earlyExit.ts'
export * from './lens.ts'
export * from './linearShortcut.ts'
export * from './patch.ts'
export * from './tunedLens.ts'
