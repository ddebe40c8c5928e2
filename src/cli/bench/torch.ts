/** PyTorch as a peer: one process a measurement, of the script in bench/peers. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { PeerError } from './peers.ts'
import type { TrainingShape } from './training.ts'

const script = fileURLToPath(new URL('../../../bench/peers/torch_train.py', import.meta.url))
/** Debian's first: a python3 of somebody's own may have no torch. */
const pythons = ['/usr/bin/python3', 'python3']
/** glibc gives memory back and asks for it anew at every step otherwise, which costs PyTorch a tenth. */
const allocation = { MALLOC_TRIM_THRESHOLD_: '8589934592', MALLOC_TOP_PAD_: '268435456' }

/** Median milliseconds of a step. PeerError where there is no PyTorch, or only one on the reference BLAS. */
export async function torchStep(shape: TrainingShape, threads: number): Promise<number> {
  if (!existsSync(script)) throw new PeerError('the peers are part of the repository, not of the package')
  const { context, ...rest } = shape
  const flags = Object.entries({ ...rest, ctx: context, threads, warmup: 2, steps: 5 })
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
