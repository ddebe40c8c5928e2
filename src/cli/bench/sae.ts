/** What a step of a TopK sparse autoencoder costs. */
import { random, tensor } from '../../array/index.ts'
import { makeArchitecture, SaeGroup } from '../../interp/index.ts'
import type { Engine } from '../../onnx/index.ts'
import { adamw } from '../../train/index.ts'

export interface SaeShape {
  readonly width: number
  readonly features: number
  readonly batch: number
  readonly k: number
}

/** 16 times the width of a small Llama; and a shape to see that it runs. */
export const saeShape: SaeShape = { width: 320, features: 5120, batch: 2048, k: 32 }
export const tinySaeShape: SaeShape = { width: 32, features: 128, batch: 64, k: 4 }

export interface SaeRun {
  /** Of a step in five dense products, as a framework without sparse ones takes: what rates are counted by. */
  readonly flops: number
  /** Milliseconds of one step. */
  readonly step: () => Promise<number>
  dispose(): void
}

export function saeRun(engine: Engine, { width, features, batch, k }: SaeShape): SaeRun {
  const draw = random.gaussian(1)
  const rows = Float32Array.from({ length: batch * width }, draw)
  const x = tensor(rows, [batch, width])
  const group = new SaeGroup({
    engine,
    members: [
      {
        name: 'sae',
        chosen: makeArchitecture({ kind: 'topk', k, bias: 'mean' }),
        sites: ['random'],
        dSae: features,
        seed: 1,
        optimizer: adamw(),
        rate: () => 3e-4,
        deadAfter: 1e7,
      },
    ],
    batches: { at: () => ({ random: x }) },
    sample: { count: batch, rows: { random: rows } },
    steps: 1000,
  })
  return {
    flops: 5 * 2 * width * features * batch,
    async step() {
      const start = performance.now()
      await group.next()
      return performance.now() - start
    },
    dispose: () => group.dispose(),
  }
}
