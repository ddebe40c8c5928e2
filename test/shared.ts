import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Path of a file or folder in the shared folder beside the repository; undefined where it is missing. */
export const shared = (path: string): string | undefined => {
  const file = fileURLToPath(new URL(`../../shared/${path}`, import.meta.url))
  return existsSync(file) ? file : undefined
}
