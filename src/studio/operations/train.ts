/** Training runs: a small model of one's own texts, or a recipe; stopped and gone on with. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as z from 'zod'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { writeAtomic } from '../../store/file.ts'
import { parseRecipe } from '../../train/run/recipe.ts'
import { stateFile } from '../../train/run/run.ts'
import { train } from '../../train/run/train.ts'
import { operation } from '../operation.ts'
import { textRun, textRunInput } from '../textRun.ts'

export const runs = operation({
  name: 'runs',
  input: z.strictObject({}),
  async run({ folder }) {
    const all = join(folder, 'runs')
    if (!existsSync(all)) return []
    return readdirSync(all).map((own) => {
      const metrics = join(all, own, 'metrics.jsonl')
      const lines = existsSync(metrics) ? readFileSync(metrics, 'utf8').trim().split('\n') : []
      const points = lines.flatMap((line) => {
        const { step, loss } = JSON.parse(line || '{}') as { step?: number; loss?: number }
        return step !== undefined && loss !== undefined ? [{ step, loss }] : []
      })
      return { name: own, points, canResume: existsSync(join(all, own, stateFile)) }
    })
  },
})

/**
 * Trains on the texts, from a model of the studio or from scratch; the last texts are held out. Where a run of that name is
 * there it goes on. Ends with the signal, its state saved.
 */
export const trainRun = operation({
  name: 'train',
  input: textRunInput,
  async *run({ folder, pool }, { name: own, model, texts, steps, rate, batch, length }, signal) {
    const run = join(folder, 'runs', own)
    const data = join(folder, 'texts', `${own}.txt`)
    mkdirSync(dirname(data), { recursive: true })
    if (!existsSync(data) || !existsSync(join(run, stateFile)))
      writeAtomic(data, (put) => put(new TextEncoder().encode(texts)))
    const from = pool.pathOf(model)
    const { clip, heldOut, schedule, measure } = textRun(steps)
    const recipe = parseRecipe(
      {
        name: own,
        model: { from },
        data: { sources: [{ name: 'texts', files: [{ file: data, documents: 'line' }], heldOut }] },
        ...{ length, batch, steps, clip, schedule, measure, saveEvery: 20 },
        optimizer: { kind: 'adamw', rate },
      },
      'studio',
    )
    await using engine = new Engine(nodeRuntime({}))
    const events: object[] = []
    let wake = (): void => {}
    const tell = (event: object): void => {
      events.push(event)
      wake()
    }
    const began = performance.now()
    const done = train({
      ...{ engine, recipe, base: folder, folder: run, signal },
      resume: existsSync(join(run, stateFile)),
      onNote: (note) => tell({ kind: 'note', note }),
      onStep: ({ step, loss, rate: now, weight }) =>
        tell({
          kind: 'step',
          step,
          loss,
          rate: now,
          tokens: weight,
          seconds: (performance.now() - began) / 1000,
        }),
      onMeasure: (measurement, { step }) => tell({ kind: 'measure', step, ...measurement }),
    }).then(
      ({ end, folder: at }: { end: string; folder?: string }) =>
        tell({ kind: 'end', end, folder: at ?? run }),
      (error: Error) => tell({ kind: 'end', end: 'failed', error: error.message }),
    )
    for (;;) {
      const event = events.shift() as { kind: string; error?: string } | undefined
      if (!event) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      if (event.error) throw new Error(event.error)
      yield event
      if (event.kind === 'end') break
    }
    await done
  },
})
