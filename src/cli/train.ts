/** `glossa train`: a model by a recipe. */
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import * as z from 'zod'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { parseRecipe } from '../train/run/recipe.ts'
import { stateFile } from '../train/run/run.ts'
import { train } from '../train/run/train.ts'
import { jsonOption } from './common.ts'
import { duration, StepBar } from './stepBar.ts'
import { exitCode, interruptible, note, print, printJson, short, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'train',
  summary: 'Train a model by a recipe',
  options: z.strictObject({
    recipe: z.string().min(1).describe('A recipe: recipes/*.json are examples'),
    out: z.string().min(1).optional().describe("The run's folder; runs/NAME by default"),
    resume: z.boolean().default(false).describe('Go on where the run in the folder was stopped or killed'),
    steps: z.int().positive().optional().describe('Steps, instead of those of the recipe'),
    device: z.string().min(1).default('cpu').describe('Execution provider of ONNX Runtime'),
    threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
    json: jsonOption,
  }),
  argument: 'recipe',
  flags: {
    recipe: { value: 'RECIPE.json' },
    out: { short: 'o', value: 'FOLDER' },
    device: { value: 'NAME' },
  },
  notes: `The folder gets state.safetensors (all that --resume needs; a run that is killed and resumed ends with the same
bits), metrics.jsonl and events for TensorBoard, loss.svg, best/ and last/ (models in Hugging Face layout) and kept/ (weights of
the steps that the recipe names). Ctrl-C saves the state and ends.`,
  async run({ recipe: path, out, resume, steps, device, threads, json }) {
    const recipe = parseRecipe(readJson(path), path)
    const folder = out ?? join('runs', recipe.name)
    await using engine = new Engine(
      nodeRuntime({ provider: device, ...(threads !== undefined && { threads }) }),
    )
    const total = steps ?? recipe.steps
    const bar = new StepBar(total)
    const result = await interruptible(async (signal) => {
      const trained = await train({
        engine,
        recipe: { ...recipe, steps: total },
        base: dirname(path),
        folder,
        resume: resume && existsSync(join(folder, stateFile)),
        signal,
        onNote: (text) => {
          if (!json) note(text)
        },
        onStep: (report) => bar.step(report.step, report.loss, report.weight),
        onMeasure: (measurement, { step, best }) => {
          if (json) return
          const shown = Object.entries(measurement)
            .filter(([name]) => name !== 'loss')
            .map(([name, value]) => `${name} ${value.toFixed(4)}`)
          note(`step ${step}: ${shown.join(', ')}${best?.step === step ? ' (best)' : ''}`)
        },
      })
      return { trained, code: exitCode(signal) }
    })
    const { trained, code } = result
    const { progress, end, model, curve } = trained
    if (json) {
      printJson({ end, model, curve, folder, parameters: trained.parameters, ...progress })
      return code
    }
    if (end === 'interrupted') {
      print(
        `stopped after step ${progress.step}; go on with: glossa train ${path} --resume${out ? ` -o ${out}` : ''}\n`,
      )
      return code
    }
    print(
      table([
        ['end', end],
        ['steps', `${progress.step}`],
        ['tokens learned from', short(progress.seen)],
        ['time', duration(progress.seconds)],
        ...(progress.best
          ? [['best', `step ${progress.best.step}, ${progress.best.loss.toFixed(4)} nats`]]
          : []),
        ['model', model ?? '-'],
        ...(curve ? [['curve', curve]] : []),
      ]),
    )
    return code
  },
})

function readJson(path: string): unknown {
  if (!existsSync(path)) throw new Error(`${path}: there is no such file`)
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Error(`${basename(path)}: not JSON: ${(error as Error).message}`)
  }
}
