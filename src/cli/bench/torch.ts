/** PyTorch as a peer: one process a measurement, of a script in bench/peers. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Row } from './parts.ts'
import { PeerError } from './peers.ts'
import type { SaeShape } from './sae.ts'
import type { TrainingShape } from './training.ts'

const scriptOf = (name: string): string =>
  fileURLToPath(new URL(`../../../bench/peers/${name}`, import.meta.url))
/** Debian's before that of the path: a python3 of somebody's own may have no torch. PYTHON names another one. */
const pythons = process.env.PYTHON ? [process.env.PYTHON] : ['/usr/bin/python3', 'python3']
/** glibc gives memory back and asks for it anew at every step otherwise, which costs PyTorch a tenth. */
const allocation = { MALLOC_TRIM_THRESHOLD_: '8589934592', MALLOC_TOP_PAD_: '268435456' }

/** Median milliseconds of a step on the processor. PeerError where there is no PyTorch, or only a very slow one. */
export const torchStep = async (shape: TrainingShape, threads: number): Promise<number> =>
  measured(shape, { threads, warmup: 2, steps: 5 })

/** The same of a step of a TopK sparse autoencoder. */
export const torchSaeStep = async (shape: SaeShape, threads: number): Promise<number> =>
  median('torch_sae.py', { ...shape, threads, warmup: 2, steps: 5 })

/** The same on a GPU of NVIDIA; what is missing where there is none. It has run alone, not in turns with us. */
export function torchOnCuda(shape: TrainingShape, ours: number): Row['peers'][number] {
  const name = 'PyTorch on CUDA, float32'
  try {
    const value = measured(shape, { device: 'cuda' })
    return { name, value, ratio: value / ours, low: value / ours, high: value / ours }
  } catch (error) {
    if (!(error instanceof PeerError)) throw error
    return { name, missing: `missing (${error.message}); PYTHON names another interpreter` }
  }
}

const measured = ({ context, ...shape }: TrainingShape, options: Readonly<Record<string, unknown>>): number =>
  median('torch_train.py', { ...shape, ctx: context, ...options })

/** Runs a script that prints the median of its steps. */
function median(name: string, options: Readonly<Record<string, unknown>>): number {
  const script = scriptOf(name)
  if (!existsSync(script)) throw new PeerError('the peers are part of the repository, not of the package')
  const flags = Object.entries(options)
  const args = [script, ...flags.flatMap(([key, value]) => [`--${key}`, `${value}`])]
  let reason = 'there is no python3'
  for (const python of pythons) {
    const { status, stdout, stderr, error } = spawnSync(python, args, {
      encoding: 'utf8',
      env: { ...process.env, ...allocation },
    })
    if (status === 0) return (JSON.parse(stdout) as { msPerStep: number }).msPerStep
    if (!error) reason = stderr.trim().split('\n').at(-1) ?? `exit ${status}`
    if (!/No module named 'torch'/.test(reason)) break
  }
  throw new PeerError(reason)
}
