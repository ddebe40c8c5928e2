/** What this machine can do: the limits that every other figure is held against. */
import { cpus } from 'node:os'
import { type Tensor, tensor } from '../../array/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { median, milliseconds } from './measure.ts'

export interface Machine {
  readonly processor: string
  readonly threads: number
  /** GB/s: the fastest of several ways to read 256 MB. */
  readonly bandwidth: number
  /** GFLOP/s in f32: the fastest of several matrix products. */
  readonly peak: number
}

const values = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => (i % 251) / 251)

export async function measureMachine(engine: Engine): Promise<Machine> {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    threads: engine.runtime.threads,
    bandwidth: await bandwidth(engine),
    peak: await peak(engine),
  }
}

async function bandwidth(engine: Engine): Promise<number> {
  const [rows, inner] = [16384, 4096]
  const matrix = tensor(values(rows * inner), [inner, rows])
  const vector = tensor(values(inner), [1, inner])
  const ways = [
    engine.jit((m: Tensor, v: Tensor) => v.matmul(m), { threads: engine.runtime.threads }),
    engine.jit((m: Tensor) => m.max(0), { threads: engine.runtime.threads }),
    engine.jit((m: Tensor) => m.sum(1), { threads: engine.runtime.threads }),
  ]
  const rates: number[] = []
  for (const way of ways) {
    const times = await milliseconds(5, () => (way as (...args: Tensor[]) => Promise<Tensor>)(matrix, vector))
    rates.push((4 * rows * inner) / 1e6 / median(times))
    way.dispose()
  }
  return Math.max(...rates)
}

async function peak(engine: Engine): Promise<number> {
  const rates: number[] = []
  for (const n of [768, 1024, 1536]) {
    const [a, b] = [tensor(values(n * n), [n, n]), tensor(values(n * n), [n, n])]
    using product = engine.jit((x: Tensor, y: Tensor) => x.matmul(y), { threads: engine.runtime.threads })
    const times = await milliseconds(7, () => product(a, b))
    rates.push((2 * n ** 3) / 1e6 / Math.min(...times))
  }
  return Math.max(...rates)
}
