/** All methods and experiments with what was measured: for the command line and for the page. */
import * as z from 'zod'
import { experiments } from '../experiments/catalogue.ts'
import { readResults } from '../experiments/result.ts'
import { methodFiles } from '../registry/methods.gen.ts'

/** By id; `results` is the folder of measured results. */
export async function methodList(results: string) {
  const measured = readResults(results)
  const methods = await Promise.all(Object.values(methodFiles).map((open) => open()))
  const claims = new Map((await experiments()).map((one) => [one.id, one]))
  return [...new Set([...methods.map(({ id }) => id), ...claims.keys()])].sort().map((id) => {
    const method = methods.find((one) => one.id === id)
    const experiment = claims.get(id)
    const result = measured.get(id)
    return {
      id,
      title: method?.title ?? experiment!.title,
      paper: method?.paper ?? experiment?.paper,
      socket: method?.socket,
      source: method?.source,
      summary: method?.summary,
      claim: experiment?.claim,
      verdict: result?.verdict,
      reason: result?.reason,
      date: result?.date,
      rows: result?.rows.map(({ name, metric, mean, spread, n }) => ({ name, metric, mean, spread, n })),
      options: method && z.toJSONSchema(method.options, { io: 'input' }),
    }
  })
}
