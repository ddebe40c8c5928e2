/** What a model is made of. */
import * as z from 'zod'
import { sites } from '../../model/taps.ts'
import { operation, withModel } from '../operation.ts'

export const model = operation({
  name: 'model',
  input: z.strictObject({ model: z.string() }),
  run: (bench, { model: name }) =>
    withModel(bench, name, async ({ model: { spec, context } }) => ({
      layers: spec.layers,
      width: spec.width,
      vocab: spec.vocab,
      context,
      heads: spec.attention?.heads ?? 0,
      sites: [...sites(spec)].map(([site, legend]) => ({ site, legend })),
    })),
})
