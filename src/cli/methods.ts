/** `glossa methods`: what there is, and what it was measured to do. */
import * as z from 'zod'
import { closest } from '../method/index.ts'
import { methodList } from '../studio/methodList.ts'
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
  argument: 'id',
  flags: { id: { value: 'ID' }, results: { value: 'FOLDER' } },
  notes: `An experiment without a method of its own measures what a paper found. glossa reproduce ID measures anew.`,
  async run({ id, results: folder, json }) {
    const all = await methodList(folder)
    const ids = all.map((one) => one.id)
    if (id !== undefined && !ids.includes(id)) {
      const near = closest(id, ids)
      throw new UsageError(
        `there is no '${id}'${near.length > 0 ? `; did you mean ${near.join(', ')}?` : ''}`,
      )
    }
    // The list says what there is; options are of one of them. Numbers are in the results' files.
    const entries = all
      .filter((one) => id === undefined || one.id === id)
      .map(({ rows: _, options, ...one }) => ({ ...one, ...(id !== undefined && { options }) }))
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
