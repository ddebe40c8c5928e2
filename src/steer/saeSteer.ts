/** A feature of a sparse autoencoder added or held (`shiftFeature.ts`), with an SAE from files. */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { openSae, saeOptions } from './saeOptions.ts'
import { shiftFeature } from './shiftFeature.ts'
import type { Steer } from './steer.ts'

export default method({
  id: 'sae-steer',
  title: 'Feature steering',
  socket: 'edit',
  source: 'Templeton et al. 2024, https://transformer-circuits.pub/2024/scaling-monosemanticity',
  summary: 'Adds to a feature of a sparse autoencoder everywhere, or holds it at a value.',
  options: z.strictObject({
    ...saeOptions,
    feature: z.int().nonnegative().describe('Which feature'),
    strength: z
      .number()
      .default(1)
      .describe('Added to the feature; with clamp the share of the way, 1 for all of it'),
    clamp: z.number().optional().describe('Hold the feature at this value instead'),
  }),
  make:
    ({ sae, ...options }): Steer =>
    async () =>
      shiftFeature(openSae(sae), options),
})
