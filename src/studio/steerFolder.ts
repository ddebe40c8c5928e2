/** Control vectors in a folder, as llama.cpp's files. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openSteer, writeControlVector } from '../steer/index.ts'
import type { Steers } from './operation.ts'

export function steerFolder(folder: string): Steers {
  const fileOf = (name: string): string => join(folder, `${name}.gguf`)
  return {
    list: () =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.gguf'))
        .map(({ name }) => ({ name: name.replace(/\.gguf$/, ''), file: join(folder, name) })),
    keep(name, vector) {
      writeControlVector(fileOf(name), vector)
      return fileOf(name)
    },
    open(name, model) {
      if (!existsSync(fileOf(name))) throw new Error(`there is no steer '${name}' here`)
      return openSteer(fileOf(name), model)
    },
  }
}
