/** LF-Steering (`biasFeatures.ts`) with an SAE and a bias from files. */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { lfEdits } from './biasFeatures.ts'
import { readBias } from './featureFile.ts'
import { openSae, saeOptions } from './saeOptions.ts'
import type { Steer } from './steer.ts'

export default method({
  id: 'lf-steering',
  title: 'LF-Steering',
  socket: 'edit',
  paper: 104,
  source: 'Yang et al. 2025, https://arxiv.org/abs/2501.11036',
  summary: 'Adds a bias to the active features in which consistent inputs differ from inconsistent ones.',
  options: z.strictObject({
    ...saeOptions,
    bias: z.string().min(1).describe('Bias of the features, as writeBias writes it'),
    strength: z.number().default(1).describe('Factor α of the bias'),
  }),
  make:
    ({ sae: folder, bias, ...options }): Steer =>
    async () => {
      const sae = openSae(folder)
      return lfEdits(sae, readBias(bias, sae.config), options)
    },
})
