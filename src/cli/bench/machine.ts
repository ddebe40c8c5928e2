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

/**
 * Of a result on a device only its greatest element is fetched, which waits for all of it: the way to the host is not
 * what is measured.
 */
const waited = (engine: Engine, result: Tensor): Tensor => (engine.provider === 'cpu' ? result : result.max())

/** `tiny` measures less, where that would take minutes: the figures are then too low. */
export async function measureMachine(engine: Engine, tiny = false): Promise<Machine> {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    threads: engine.runtime.threads,
    bandwidth: await bandwidth(engine, tiny ? 1024 : 16384),
    peak: await peak(engine, tiny ? [256] : [768, 1024, 1536]),
  }
}

async function bandwidth(engine: Engine, rows: number): Promise<number> {
  const inner = 4096
  const matrix = tensor(values(rows * inner), [inner, rows])
  const vector = tensor(values(inner), [1, inner])
  const ways = [
    engine.jit((m: Tensor, v: Tensor) => waited(engine, v.matmul(m)), { threads: engine.runtime.threads }),
    engine.jit((m: Tensor) => waited(engine, m.max(0)), { threads: engine.runtime.threads }),
    engine.jit((m: Tensor) => waited(engine, m.sum(1)), { threads: engine.runtime.threads }),
  ]
  const rates: number[] = []
  for (const way of ways) {
    const times = await milliseconds(5, () => (way as (...args: Tensor[]) => Promise<Tensor>)(matrix, vector))
    rates.push((4 * rows * inner) / 1e6 / median(times))
    way.dispose()
  }
  return Math.max(...rates)
}

async function peak(engine: Engine, sizes: readonly number[]): Promise<number> {
  const rates: number[] = []
  for (const n of sizes) {
    const [a, b] = [tensor(values(n * n), [n, n]), tensor(values(n * n), [n, n])]
    using product = engine.jit((x: Tensor, y: Tensor) => waited(engine, x.matmul(y)), {
      threads: engine.runtime.threads,
    })
    const times = await milliseconds(7, () => product(a, b))
    rates.push((2 * n ** 3) / 1e6 / Math.min(...times))
  }
  return Math.max(...rates)
}
