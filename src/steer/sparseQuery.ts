/** Sparse query steering (`pullFeatures.ts`) with an SAE and prototypes from files. */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { readPrototypes } from './featureFile.ts'
import { pulls, sparseQueryEdits } from './pullFeatures.ts'
import { openSae, saeOptions } from './saeOptions.ts'
import type { Steer } from './steer.ts'

export default method({
  id: 'sparse-query',
  title: 'Sparse query steering',
  socket: 'edit',
  paper: 1,
  source: 'Bhattacharyya and Rooshenas 2025, https://arxiv.org/abs/2502.18644',
  summary: 'Moves the sparse code of attention queries by gradient steps towards a class.',
  options: z.strictObject({
    ...saeOptions,
    prototypes: z.string().min(1).describe('Prototypes of the classes, as writePrototypes writes them'),
    target: z.string().min(1).describe('The class that is wanted'),
    strength: z.number().default(1).describe('Size η of a step; below 0 away from the class'),
    steps: z.int().positive().max(100).default(10).describe('Gradient steps for each token'),
    pull: z
      .enum(pulls)
      .default('likelihood')
      .describe('What a step climbs: the likelihood of the class, or the negative distance to its prototype'),
    l1: z.number().nonnegative().default(0).describe('Weight λ of the L1 norm of the code'),
  }),
  make:
    ({ sae: folder, prototypes, ...options }): Steer =>
    async () => {
      const sae = openSae(folder)
      return sparseQueryEdits(sae, readPrototypes(prototypes, sae.config), options)
    },
})
