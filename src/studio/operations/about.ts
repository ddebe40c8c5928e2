/** What there is: models, SAEs, steers, methods with their results. */
import * as z from 'zod'
import { methodList } from '../methodList.ts'
import { operation } from '../operation.ts'

export const about = operation({
  name: 'about',
  input: z.strictObject({}),
  async run({ pool, saes, steers }) {
    return {
      models: pool.list().filter(({ kind }) => kind === 'decoder'),
      saes: saes.names,
      steers: steers.list(),
    }
  },
})

export const methods = operation({
  name: 'methods',
  input: z.strictObject({}),
  run: ({ results }) => methodList(results),
})
