/** `glossa adapt`: an adapter for a model, from rows of a data set. */
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import * as z from 'zod'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { adapt, adaptSchema } from '../train/run/adapt.ts'
import { stateFile } from '../train/run/run.ts'
import { jsonOption } from './common.ts'
import { locateModel } from './hub.ts'
import { duration, StepBar } from './stepBar.ts'
import { exitCode, interruptible, note, print, printJson, short, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'adapt',
  summary: 'Train an adapter for a model (LoRA, DoRA, IA3, prefix, prompt), or all of it, on rows',
  options: z.strictObject({
    model: z.string().min(1).describe('The model, as for generate'),
    data: z
      .array(z.string().min(1))
      .min(1)
      .describe(
        "Rows in TRL's formats: .jsonl, .json, .csv, .txt, .parquet, a folder, or hf://datasets/org/name",
      ),
    ...adaptSchema.shape,
    out: z.string().min(1).optional().describe("The run's folder; runs/KIND-MODEL by default"),
    resume: z.boolean().default(false).describe('Go on where the run in the folder was stopped or killed'),
    device: z.string().min(1).default('cpu').describe('Execution provider of ONNX Runtime'),
    threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
    json: jsonOption,
  }),
  flags: {
    model: { short: 'm', value: 'MODEL' },
    data: { value: 'FILE' },
    target: { value: 'MODULE' },
    out: { short: 'o', value: 'FOLDER' },
    device: { value: 'NAME' },
  },
  notes: `Rows are {text}, {messages}, {prompt, completion} or {prompt, chosen, rejected}; docs/training-data.md tells what is
learned of each. The run's folder gets best/ and last/, which PEFT and --lora read (with --kind full: models), and what
glossa train leaves behind.`,
  async run({ model: name, data, out, resume, device, threads, json, ...settings }) {
    const model = await locateModel(name)
    const folder = out ?? join('runs', `${settings.kind}-${basename(model)}`)
    await using engine = new Engine(
      nodeRuntime({ provider: device, ...(threads !== undefined && { threads }) }),
    )
    let bar: StepBar | undefined
    const { adapted, code } = await interruptible(async (signal) => ({
      adapted: await adapt({
        engine,
        model,
        data,
        settings,
        folder,
        resume: resume && existsSync(join(folder, stateFile)),
        signal,
        onNote: (text) => {
          if (!json) note(text)
          bar = new StepBar(Number(/(\d+) steps/.exec(text)?.[1] ?? 1))
        },
        onStep: (report) => bar?.step(report.step, report.loss, report.weight),
        onMeasure: (measurement, { step, best }) => {
          if (json) return
          const shown = Object.entries(measurement).map(([key, value]) => `${key} ${value.toFixed(4)}`)
          note(`step ${step}: ${shown.join(', ')}${best?.step === step ? ' (best)' : ''}`)
        },
      }),
      code: exitCode(signal),
    }))
    const { progress, end, model: best, curve } = adapted
    if (json) {
      printJson({ end, adapter: best, curve, folder, ...adapted.progress, parameters: adapted.trained })
      return code
    }
    if (end === 'interrupted') {
      print(`stopped after step ${progress.step}; the same command with --resume goes on\n`)
      return code
    }
    print(
      table([
        ['end', end],
        ['steps', `${progress.step}`],
        ['learned from', `${short(progress.seen)} target tokens or pairs of ${adapted.rows} rows`],
        ['time', duration(progress.seconds)],
        ...(progress.best
          ? [['best', `step ${progress.best.step}, loss ${progress.best.loss.toFixed(4)}`]]
          : []),
        ['written', best ?? '-'],
        ...(curve ? [['curve', curve]] : []),
      ]),
    )
    if (settings.kind !== 'full') print(`\nglossa generate -m ${name} --lora ${best} -p ...\n`)
    return code
  },
})
