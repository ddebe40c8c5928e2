/**
 * The state of a training run as one file: parameters, the optimizer's state, and how far it has come.
 *
 * One safetensors file, written whole or not at all: a run that is killed finds the state before or after, never
 * half of each. f32 throughout, so that the resumed run computes the same bits.
 */
import { leaves, type Tensor, tensor } from '../../array/index.ts'
import {
  FileError,
  openSafetensors,
  readBytes,
  type SafetensorsSource,
  writeSafetensors,
} from '../../store/index.ts'
import type { TrainingState } from '../trainer.ts'

/** What the loop around the steps knows. */
export interface Progress {
  readonly step: number
  /** The best measurement so far. */
  readonly best?: { readonly step: number; readonly loss: number } | undefined
  /** Measurements since then that were no better. */
  readonly stale: number
  /** Units of weight that were learned from: target tokens, rows or pairs. */
  readonly seen: number
  /** Time spent, over all parts of the run. */
  readonly seconds: number
}

const formatName = 'glossa training state 1'
/** Of the safetensors metadata. */
const keys = { format: 'glossa', progress: 'progress', recipe: 'recipe' } as const

/** Writes a state. `recipe` tells runs apart: it is compared when the run goes on. */
export function saveState(path: string, state: TrainingState, progress: Progress, recipe: string): void {
  const branches = [
    ['params', state.params],
    ['optimizer', state.optimizer],
    ['memory', state.memory],
  ] as const
  const tensors = branches.flatMap(([branch, tree]) =>
    leaves(tree).map(
      ([name, leaf]): SafetensorsSource => ({
        name: `${branch}.${name}`,
        dtype: leaf.dtype,
        shape: leaf.sizes,
        data: () => leaf.data as Float32Array,
      }),
    ),
  )
  writeSafetensors(path, tensors, {
    [keys.format]: formatName,
    [keys.progress]: JSON.stringify(progress),
    [keys.recipe]: recipe,
  })
}

/** Reads a state into memory. FileError for a file that is no state, or not all of one. */
export function loadState(path: string): { state: TrainingState; progress: Progress; recipe: string } {
  const { metadata, tensors } = openSafetensors(path)
  if (metadata[keys.format] !== formatName)
    throw new FileError(
      path,
      0,
      `is no ${formatName}`,
      'It may be a model: give it as the model to start from',
    )
  const progress = JSON.parse(String(metadata[keys.progress])) as Progress
  const branch = (name: string): Record<string, Tensor> =>
    Object.fromEntries(
      [...tensors.values()].flatMap((entry) => {
        if (!entry.name.startsWith(`${name}.`)) return []
        const { buffer } = readBytes(entry).slice()
        const Data = arrays[entry.type as keyof typeof arrays]
        if (!Data) throw new FileError(path, entry.offset, `'${entry.name}' is ${entry.type}`)
        return [
          [entry.name.slice(name.length + 1), tensor(new Data(buffer), entry.shape, entry.type as 'f32')],
        ]
      }),
    )
  return {
    state: {
      step: progress.step,
      params: branch('params'),
      optimizer: branch('optimizer'),
      memory: branch('memory'),
    },
    progress,
    recipe: String(metadata[keys.recipe]),
  }
}

const arrays = { f32: Float32Array, f64: Float64Array, i32: Int32Array, i64: BigInt64Array } as const
