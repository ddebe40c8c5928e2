/** `glossa methods`: what there is, and what it was measured to do. */
import * as z from 'zod'
import { experiments } from '../experiments/catalogue.ts'
import { readResults } from '../experiments/result.ts'
import { closest } from '../method/index.ts'
import { methodFiles } from '../registry/methods.gen.ts'
import { jsonOption } from './common.ts'
import { dim, print, printJson, table } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'methods',
  summary: 'List the methods and experiments, with paper, claim and the last measured result',
  options: z.strictObject({
    id: z.string().min(1).optional().describe('One of them, with its options'),
    results: z.string().min(1).default('results').describe('The folder of results'),
    json: jsonOption,
  }),
  flags: { id: { value: 'ID' }, results: { value: 'FOLDER' } },
  notes: `An experiment without a method of its own measures what a paper found. glossa reproduce ID measures anew.`,
  async run({ id, results: folder, json }) {
    const results = readResults(folder)
    const methods = await Promise.all(Object.values(methodFiles).map((open) => open()))
    const measured = new Map((await experiments()).map((one) => [one.id, one]))
    const ids = [...new Set([...methods.map((one) => one.id), ...measured.keys()])].sort()
    if (id !== undefined && !ids.includes(id)) {
      const near = closest(id, ids)
      throw new UsageError(
        `there is no '${id}'${near.length > 0 ? `; did you mean ${near.join(', ')}?` : ''}`,
      )
    }
    const entries = ids
      .filter((one) => id === undefined || one === id)
      .map((one) => {
        const method = methods.find((candidate) => candidate.id === one)
        const experiment = measured.get(one)
        const result = results.get(one)
        return {
          id: one,
          title: method?.title ?? experiment!.title,
          paper: method?.paper ?? experiment?.paper,
          socket: method?.socket,
          source: method?.source,
          summary: method?.summary,
          claim: experiment?.claim,
          verdict: result?.verdict,
          reason: result?.reason,
          date: result?.date,
          options: id === undefined || !method ? undefined : z.toJSONSchema(method.options, { io: 'input' }),
        }
      })
    if (json) {
      printJson(entries)
      return 0
    }
    if (id === undefined) {
      print(
        table([
          ['id', 'paper', 'socket', 'measured'],
          ...entries.map((entry) => [
            entry.id,
            `${entry.paper ?? ''}`,
            entry.socket ?? 'finding',
            entry.verdict ?? (entry.claim ? 'not yet' : '-'),
          ]),
        ]),
      )
      return 0
    }
    const [entry] = entries
    for (const [name, value] of Object.entries(entry!)) {
      if (value === undefined) continue
      print(`${dim(name.padEnd(9))}${typeof value === 'object' ? JSON.stringify(value, null, 1) : value}\n`)
    }
    return 0
  },
})
