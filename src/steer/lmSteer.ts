/**
 * LM-Steer (`wordSteer.ts`) from a file of `glossa steer fit --kind lm-steer`:
 *
 *   logits = hᵀ (I + ε · strength · W) E
 */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { readWordSteer } from './lmSteerFile.ts'
import type { Steer } from './steer.ts'
import { wordSteerEdits } from './wordSteer.ts'

export default method({
  id: 'lm-steer',
  title: 'LM-Steer',
  socket: 'edit',
  paper: 3,
  source: 'Han et al. 2024, https://arxiv.org/abs/2305.12798',
  summary: 'A learned linear change of the output embeddings moves texts towards a style, or away from it.',
  options: z.strictObject({
    file: z.string().min(1).describe('A steer, as glossa steer fit writes it'),
    strength: z
      .number()
      .default(1)
      .describe('1 as learned on texts of the style, −1 as on the others; the paper takes up to 5'),
    domain: z
      .number()
      .default(0)
      .describe('The same of what texts of both kinds have in common; 1 as learned'),
  }),
  make:
    ({ file, strength, domain }): Steer =>
    async (model) => {
      const steer = readWordSteer(file, model.spec)
      if (domain !== 0 && !steer.names.includes('domain'))
        throw new Error(`${file} has no steer for the domain: leave out domain=${domain}`)
      if (strength === 0 && domain === 0) return {}
      return wordSteerEdits(
        steer,
        steer.names.map((name) => (name === 'domain' ? domain : strength)),
      )
    },
})
