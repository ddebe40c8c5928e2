/** PyTorch on a GPU of NVIDIA, as a peer of training: a process that measures itself and ends. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Row } from './parts.ts'
import type { TrainingRun } from './training.ts'

const script = fileURLToPath(new URL('../../../bench/peers/torch_train.py', import.meta.url))

/** The same training step; what is missing where there is no CUDA. It has run alone, not in turns with us. */
export function torchOnCuda({ config }: TrainingRun, ours: number): Row['peers'][number] {
  const name = 'PyTorch on CUDA, float32'
  const python = process.env.PYTHON ?? 'python3'
  if (!existsSync(script))
    return { name, missing: 'the peers are part of the repository, not of the package' }
  const { context, ...rest } = config
  const flags = Object.entries({ ...rest, ctx: context }).flatMap(([key, value]) => [`--${key}`, `${value}`])
  try {
    const probe = 'import torch, sys; sys.exit(0 if torch.cuda.is_available() else "no CUDA device")'
    execFileSync(python, ['-c', probe], { stdio: ['ignore', 'ignore', 'pipe'] })
    const text = execFileSync(python, [script, '--device', 'cuda', ...flags], { encoding: 'utf8' })
    const value = (JSON.parse(text) as { msPerStep: number }).msPerStep
    return { name, value, ratio: value / ours, low: value / ours, high: value / ours }
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer }
    const last = `${stderr ?? ''}`.trim().split('\n').at(-1)
    return { name, missing: `missing (${last || message}); PYTHON names another interpreter` }
  }
}
