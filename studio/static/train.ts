/** Training in the page: runs live in this worker, and what they made is one of its models until the page is closed. */
import * as z from 'zod'
import { operation, withModel } from '../../src/studio/operation.ts'
import { textRun, textRunInput } from '../../src/studio/textRun.ts'
import {
  adamw,
  coveringBatches,
  type DecoderParams,
  type Engine,
  type Model,
  makeSchedule,
  mapTree,
  nextToken,
  PackedBatches,
  promptTokens,
  Trainer,
  tensor,
  wholly,
} from '../../src/web.ts'

interface Run {
  readonly settings: string
  readonly trainer: Trainer<DecoderParams, undefined, DecoderParams, ReturnType<PackedBatches['at']>, unknown>
  readonly points: { readonly step: number; readonly loss: number }[]
}
const all = new Map<string, Run>()

export const runs = operation({
  name: 'runs',
  input: z.strictObject({}),
  run: () => [...all].map(([name, { points }]) => ({ name, points, canResume: true })),
})

/** The texts, one a line and each with its end, as one row of tokens; a share of them, the last ones, apart. */
function rowsOf(model: Model, texts: string, share: number): { learned: Int32Array; heldOut: Int32Array } {
  const { bos, eos } = model.tokenizer ?? {}
  // Where one token is both, the next text's beginning is the end.
  const end = eos === bos ? undefined : eos
  const documents = texts
    .split('\n')
    .filter((line) => line.trim())
    .map((line) => [...promptTokens(model, line), ...(end === undefined ? [] : [end])])
  const held = Math.floor(documents.length * share)
  const joined = (list: number[][]): Int32Array => Int32Array.from(list.flat())
  return {
    learned: joined(documents.slice(0, documents.length - held)),
    heldOut: joined(documents.slice(documents.length - held)),
  }
}

/** `keep` takes what has been learned, as a model of the page. */
export const trainRun = (
  engine: () => Promise<Engine>,
  keep: (name: string, from: string, params: DecoderParams) => void,
) =>
  operation({
    name: 'train',
    input: textRunInput,
    async *run(bench, { name, ...settings }, signal) {
      if (bench.pool.list().some(({ id }) => id === name) && !all.has(name))
        throw new Error(`there is a model '${name}': give the run another name`)
      const { model: from, texts, steps, rate, batch, length } = settings
      const { clip, heldOut: share, schedule, measure: measured } = textRun(steps)
      yield { kind: 'note', note: 'reading the texts …' }
      const { heldOut, learned, spec, params } = await withModel(bench, from, async ({ model }) => ({
        ...rowsOf(model, texts, share),
        spec: model.spec,
        params: model.params,
      }))
      const known = all.get(name)
      if (known && known.settings !== JSON.stringify(settings))
        throw new Error(`there is a run '${name}' of other texts or settings: give this one another name`)
      const factor = makeSchedule({ ...schedule, steps })
      const run: Run = known ?? {
        settings: JSON.stringify(settings),
        trainer: new Trainer({
          engine: await engine(),
          // A copy, because each step writes its memory over the one before.
          model: wholly(mapTree(params, (leaf) => tensor(leaf.data.slice(), leaf.sizes, leaf.dtype))),
          objective: nextToken(spec),
          batches: new PackedBatches({ sources: [{ tokens: learned }], batch, length, seed: 1 }),
          optimizer: adamw(),
          rate: (step) => rate * factor(step),
          clip,
        }) as unknown as Run['trainer'],
        points: [],
      }
      all.set(name, run)
      const { trainer, points } = run
      const measure = async (): Promise<object[]> => {
        if (heldOut.length < 2) return []
        const covering = coveringBatches(heldOut, { batch, length })
        const { loss } = await trainer.measure(
          covering as never,
          Math.min(covering.count, Math.ceil(measured.windows / batch)),
        )
        return [{ kind: 'measure', step: trainer.step, loss }]
      }
      if (trainer.step === 0) yield* await measure()
      const began = performance.now()
      while (trainer.step < steps) {
        signal.throwIfAborted()
        const { step, loss, rate: now, weight } = await trainer.next()
        points.push({ step, loss })
        const seconds = (performance.now() - began) / 1000
        yield { kind: 'step', step, loss, rate: now, tokens: weight, seconds }
        if (step % measured.every === 0) yield* await measure()
      }
      keep(name, from, trainer.parts)
      yield { kind: 'end', end: 'done', folder: `the model '${name}' is here until the page is closed` }
    },
  })
