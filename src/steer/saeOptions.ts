/** Options that all methods have that steer through a sparse autoencoder. */
import * as z from 'zod'
import { readSae } from '../interp/sae/files/index.ts'
import type { Sae } from '../interp/sae/sae.ts'
import { errorModes } from './saeEdit.ts'

export const saeOptions = {
  sae: z.string().min(1).describe('Folder of the SAE, as SAELens, sparsify and glossa sae train write it'),
  error: z
    .enum(errorModes)
    .default('keep')
    .describe('What the SAE does not reconstruct: keep it, or drop it as the paper does'),
}

export const openSae = (folder: string): Sae => readSae(folder).sae
