/** SCAR (`scaleFeature.ts`) with an SAE from files. */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { openSae, saeOptions } from './saeOptions.ts'
import { scarEdits } from './scaleFeature.ts'
import type { Steer } from './steer.ts'

export default method({
  id: 'scar',
  title: 'SCAR: sparse conditioned autoencoders',
  socket: 'edit',
  paper: 39,
  source: 'Härle et al. 2024, https://arxiv.org/abs/2411.07122',
  summary: 'Scales the feature of an SAE that was trained to mean a concept.',
  options: z.strictObject({
    ...saeOptions,
    strength: z.number().default(1).describe('α − 1: -1 takes the concept away, above 0 there is more of it'),
    feature: z.int().nonnegative().default(0).describe('Which feature; SCAR conditions the first'),
  }),
  make:
    ({ sae, ...options }): Steer =>
    async () =>
      scarEdits(openSae(sae), options),
})
