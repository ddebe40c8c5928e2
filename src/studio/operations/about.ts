/** What there is: models, SAEs, methods with their results. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { experiments } from '../../experiments/catalogue.ts'
import { readResults } from '../../experiments/result.ts'
import { methodFiles } from '../../registry/methods.gen.ts'
import { operation } from '../operation.ts'

export const about = operation({
  name: 'about',
  input: z.strictObject({}),
  async run({ pool, saes, folder }) {
    return {
      models: pool.list().filter(({ kind }) => kind === 'decoder'),
      saes: Object.keys(saes),
      steers: readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.gguf'))
        .map(({ name }) => ({ name: name.replace(/\.gguf$/, ''), file: join(folder, name) })),
    }
  },
})

export const methods = operation({
  name: 'methods',
  input: z.strictObject({}),
  async run({ results: folder }) {
    const results = readResults(folder)
    const known = await Promise.all(Object.values(methodFiles).map((open) => open()))
    const measured = new Map((await experiments()).map((one) => [one.id, one]))
    return [...new Set([...known.map(({ id }) => id), ...measured.keys()])].sort().map((id) => {
      const method = known.find((one) => one.id === id)
      const experiment = measured.get(id)
      const result = results.get(id)
      return {
        id,
        title: method?.title ?? experiment!.title,
        summary: method?.summary,
        paper: method?.paper ?? experiment?.paper,
        socket: method?.socket,
        source: method?.source,
        claim: experiment?.claim,
        verdict: result?.verdict,
        reason: result?.reason,
        rows: result?.rows.map(({ name, metric, mean, spread, n }) => ({ name, metric, mean, spread, n })),
        options: method && z.toJSONSchema(method.options, { io: 'input' }),
      }
    })
  },
})
