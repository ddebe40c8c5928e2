/** The rules of generation. */
export * from './mirostat.ts'
export * from './penalties.ts'
export * from './truncation.ts'
