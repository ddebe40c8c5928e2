/** Takes the place of `load.ts` in a browser (`browser` in package.json), which has no files to open by path. */
import type { LoadedModel } from './bind.ts'

export function load(path: string): LoadedModel {
  throw new Error(`${path}: a browser has no files by path; fetch them and give them to loadFiles`)
}
