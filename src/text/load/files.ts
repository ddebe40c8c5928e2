import { readFileSync, statSync } from 'node:fs'
import { TokenizerError } from '../errors.ts'

/** The largest tokenizer files are some 30 MB; nothing near this is one. */
const maxBytes = 2 ** 28

/** The bytes of a file. */
export function readBytes(file: string): Buffer {
  try {
    const { size } = statSync(file)
    if (size > maxBytes) throw new TokenizerError(file, 'file', `${size} bytes are too many for a tokenizer`)
    return readFileSync(file)
  } catch (error) {
    if (error instanceof TokenizerError) throw error
    throw new TokenizerError(file, 'file', (error as Error).message)
  }
}

/** A JSON file's value. */
export function readJson(file: string): unknown {
  return parseJson(readBytes(file).toString('utf8'), file)
}

export function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const { message } = error as Error
    const at = /position (\d+)/.exec(message) // else the message quotes the place
    throw new TokenizerError(file, at === null ? 'top level' : `character ${at[1]}`, `not JSON: ${message}`)
  }
}
