/** SAEs in folders, by name. */
import { readExplanations } from '../interp/sae/explain/file.ts'
import { readSae } from '../interp/sae/files/index.ts'
import type { Saes } from './operation.ts'

export const saeFolders = (folders: Readonly<Record<string, string>>): Saes => ({
  names: Object.keys(folders),
  async open(name) {
    const folder = Object.hasOwn(folders, name) ? folders[name] : undefined
    if (folder === undefined)
      throw new Error(
        `there is no SAE '${name}'; there are: ${Object.keys(folders).join(', ') || 'none (start the studio with --sae NAME=FOLDER)'}`,
      )
    return { folder, sae: readSae(folder).sae, explanations: readExplanations(folder) }
  },
})
