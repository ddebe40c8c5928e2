/**
 * Control vectors (`contrast.ts`) from files of llama.cpp, repeng and `glossa steer fit`:
 *
 *   h[l] <- h[l] + strength · v[l]          h[l]: blocks.l.hook_resid_post [batch, T, width], all positions
 */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { controlVectorEdits } from './contrast.ts'
import { readControlVector } from './controlVectorFile.ts'
import type { Steer } from './steer.ts'

export default method({
  id: 'control-vector',
  title: 'Control vectors',
  socket: 'edit',
  source:
    'Rimsky et al. 2024, https://arxiv.org/abs/2312.06681; Zou et al. 2023, https://arxiv.org/abs/2310.01405',
  summary: 'Adds a direction to the residual stream of each layer.',
  options: z.strictObject({
    file: z
      .string()
      .min(1)
      .describe('A GGUF control vector, as llama.cpp, repeng and glossa steer fit write it'),
    strength: z.number().default(1).describe('Factor of the directions; below 0 away from them'),
    layers: z.array(z.int().nonnegative()).optional().describe('Of these layers only'),
  }),
  make:
    ({ file, strength, layers }): Steer =>
    async (model) => {
      const vector = readControlVector(file, model.spec)
      return strength === 0 ? {} : controlVectorEdits(vector, strength, layers)
    },
})
