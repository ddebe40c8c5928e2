/** `glossa steer fit`. */

import { statSync } from 'node:fs'
import { Model } from '../../model/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { fitControlVector, fitWordSteer, writeControlVector, writeWordSteer } from '../../steer/index.ts'
import { readText } from '../common.ts'
import { locateModel } from '../hub.ts'
import { StepBar } from '../stepBar.ts'
import { bytes, interruptible, Progress, print, printJson, table } from '../terminal.ts'
import { UsageError } from '../verb.ts'

export interface FitSettings {
  readonly model: string
  readonly weights: string
  readonly device: string
  readonly threads?: number | undefined
  readonly positive: string
  readonly negative: string
  readonly output: string
  readonly kind?: 'mean' | 'pca' | 'lm-steer' | undefined
  readonly layers?: readonly number[] | undefined
  readonly pooling?: 'last' | 'mean' | undefined
  readonly steps?: number | undefined
  readonly batch?: number | undefined
  readonly rate?: number | undefined
  readonly rank?: number | undefined
  readonly seed?: number | undefined
  readonly json: boolean
}

/** One text a line; empty lines are none. */
export const textsOf = (path: string): string[] =>
  readText(path)
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '')

/** An object without the options that were not given. */
const given = <T extends object>(options: T) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }

export async function fitSteer(settings: FitSettings): Promise<number> {
  const { kind = 'mean', layers, pooling, steps = 300, batch = 16, rate, rank, seed, output, json } = settings
  const words = kind === 'lm-steer'
  if (output.endsWith('.safetensors') !== words || output.endsWith('.gguf') === words)
    throw new UsageError(
      `--output ${output}: must end in ${words ? '.safetensors' : '.gguf'} for --kind ${kind}`,
    )
  const foreign = words
    ? given({ layers, pooling })
    : given({ steps: settings.steps, batch: settings.batch, rate, rank })
  const [flag] = Object.keys(foreign)
  if (flag !== undefined) throw new UsageError(`--${flag} is not for --kind ${kind}`)
  if (settings.weights !== 'f32')
    throw new UsageError('steer fit learns in f32; the steer is for all weights')
  const [positive, negative] = [textsOf(settings.positive), textsOf(settings.negative)]
  const { device, threads } = settings
  await using engine = new Engine(
    nodeRuntime({ provider: device, ...(threads !== undefined && { threads }) }),
  )
  const model = Model.open(await locateModel(settings.model), engine)
  const started = performance.now()
  return await interruptible(async (signal) => {
    if (words) {
      const bar = new StepBar(steps)
      const texts = [
        ...positive.map((text) => ({ text, label: 1 })),
        ...negative.map((text) => ({ text, label: -1 })),
      ]
      const steer = await fitWordSteer(engine, model, texts, {
        ...given({ rate, rank, seed }),
        steps,
        batch,
        signal,
        onStep: (step, loss, tokens) => bar.step(step, loss, tokens),
      })
      writeWordSteer(output, steer)
    } else {
      const progress = new Progress('reading text', positive.length + negative.length)
      const options = {
        ...given({ layers, pooling }),
        kind,
        signal,
        onProgress: (done: number) => progress.update(done),
      }
      writeControlVector(output, await fitControlVector(model, { positive, negative }, options))
    }
    const seconds = (performance.now() - started) / 1000
    const size = statSync(output).size
    if (json)
      printJson({ output, kind, positive: positive.length, negative: negative.length, bytes: size, seconds })
    else
      print(
        table([
          ['learned from', `${positive.length} positive and ${negative.length} negative texts`],
          ['time', `${seconds.toFixed(1)} s`],
          ['written', `${output}, ${bytes(size)}`],
        ]),
      )
    return 0
  })
}
