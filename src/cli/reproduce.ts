/** `glossa reproduce`: a paper's claim, measured here. */
import { join } from 'node:path'
import * as z from 'zod'
import { experimentOf } from '../experiments/catalogue.ts'
import { reproduce } from '../experiments/reproduce.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { jsonOption } from './common.ts'
import { dim, interruptible, note, print, printJson, short, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'reproduce',
  summary: "Measure a paper's claim here: the method against its baseline, under the same budget",
  options: z.strictObject({
    id: z.string().min(1).describe('An experiment, or the number of its paper; glossa methods lists them'),
    seeds: z.array(z.int().nonnegative()).optional().describe("Instead of the experiment's own"),
    data: z.string().min(1).default('../shared/assets').describe('The folder of data sets'),
    out: z.string().min(1).default('results').describe('Where the result and its plot go'),
    fresh: z.boolean().default(false).describe('Measure everything anew, also what an earlier run has kept'),
    threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
    json: jsonOption,
  }),
  argument: 'id',
  flags: { id: { value: 'ID' }, data: { value: 'FOLDER' }, out: { short: 'o', value: 'FOLDER' } },
  notes: `What an arm gives for a seed is kept in runs/experiments: an experiment that was stopped goes on there. 'spread' is the
sample standard deviation over the seeds.`,
  async run({ id, seeds, data, out, fresh, threads, json }) {
    const experiment = await experimentOf(id)
    await using engine = new Engine(nodeRuntime(threads === undefined ? {} : { threads }))
    const { result, files } = await interruptible((signal) =>
      reproduce(experiment, {
        engine,
        seeds,
        data,
        out,
        runs: join('runs', 'experiments'),
        command: `glossa reproduce ${experiment.id}${seeds ? ` --seeds ${seeds.join(',')}` : ''}`,
        fresh,
        note: (text) => {
          if (!json) note(text)
        },
        signal,
      }),
    )
    if (json) {
      printJson(result)
      return 0
    }
    print(
      `${experiment.title} (paper ${result.paper})\nclaim    ${result.claim}\nhere     ${result.setting}\n\n`,
    )
    print(
      table(
        [
          ['', 'metric', 'mean', 'spread', 'n'],
          ...result.rows.map(({ name, metric, mean, spread, n }) => [
            name === result.baseline ? `${name} (baseline)` : name,
            metric,
            short(mean),
            short(spread),
            `${n}`,
          ]),
        ],
        [2, 3, 4],
      ),
    )
    print(`\n${result.verdict}: ${result.reason}\n`)
    for (const file of files) print(dim(`wrote ${file}\n`))
    return 0
  },
})
