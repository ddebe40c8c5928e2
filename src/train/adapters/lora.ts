/**
 * LoRA (Hu et al. 2021): W + (alpha / rank) B A, of which A [rank, in] and B [out, rank] are trained. A starts uniform
 * in ±1/√in and B at zero, as in the authors' code.
 *
 *   rsLoRA (Kalajdzievski 2023)   alpha / √rank instead
 *   DoRA (Liu et al. 2024)        m (W + s B A) / ‖W + s B A‖, rows each; the norm is held fixed in the gradient
 *
 * On the embedding A [rank, vocab] starts at zero and B [width, rank] at random; a tied head stays as it was. Differs
 * from PEFT: there is no dropout.
 */
import * as z from 'zod'
import { random, type Tensor, tensor } from '../../array/index.ts'
import type { LinearParams } from '../../model/adapters.ts'
import { type ModulePart, modulesOf } from '../../model/modules.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import { type Adapter, type AdapterBase, full, leafAt } from './adapter.ts'
import { commonConfig, type LoraConfig, type PeftConfig, readPeftConfig } from './config.ts'
import { byPattern, savedLeaves, shortNames, targeted } from './targets.ts'

const pattern = z.record(z.string(), z.number().positive())
export const loraSchema = z.strictObject({
  rank: z.int().positive().default(8).describe('Rank of the updates'),
  alpha: z.number().positive().default(16).describe('The updates are multiplied by alpha / rank'),
  targets: z
    .union([z.array(z.string().min(1)).min(1), z.string().min(1)])
    .optional()
    .describe(
      "Modules by the end of their name, one pattern, or 'all-linear'; by default queries and values",
    ),
  exclude: z.array(z.string().min(1)).optional().describe('Modules that are left out'),
  layers: z.array(z.int().nonnegative()).min(1).optional().describe('Layers; all by default'),
  rankPattern: pattern.default({}).describe('Other ranks, by a pattern for the end of a module'),
  alphaPattern: pattern.default({}).describe('Other alphas, likewise'),
  rslora: z.boolean().default(false).describe('alpha / √rank'),
  dora: z.boolean().default(false).describe('Magnitudes and directions apart'),
  save: z.array(z.string().min(1)).min(1).optional().describe('Modules that are trained whole'),
  seed: z.int().default(0),
  base: z.string().optional().describe('Name of the model on the hub, for the file'),
})
export type LoraOptions = z.input<typeof loraSchema>

/** A new adapter that does nothing yet. */
export function lora(model: AdapterBase, options: LoraOptions = {}): Adapter {
  const o = loraSchema.parse(options)
  const parts = modulesOf(model)
  const standard = () => parts.filter(({ place }) => /\.attn\.(q|v|qkv)$/.test(place))
  const config: PeftConfig = {
    ...commonConfig(o.base),
    peft_type: 'LORA',
    r: o.rank,
    lora_alpha: o.alpha,
    lora_dropout: 0,
    target_modules: o.targets ?? shortNames(parts, standard()),
    exclude_modules: o.exclude ?? null,
    modules_to_save: o.save ?? null,
    layers_to_transform: o.layers ?? null,
    layers_pattern: null,
    rank_pattern: sorted(o.rankPattern),
    alpha_pattern: sorted(o.alphaPattern),
    bias: 'none',
    fan_in_fan_out: model.spec.layout === 'in-out',
    init_lora_weights: true,
    use_rslora: o.rslora,
    use_dora: o.dora,
  }
  const read = readPeftConfig(config, 'lora').config as LoraConfig
  const chosen = targeted(parts, read)
  const uniform = random.generator(o.seed)
  const gaussian = random.gaussian(random.fold(o.seed, 1))
  const linears = chosen.map((part): [string, LinearParams] => {
    const { inner, out, place } = part
    const rank = rankOf(read, part)
    const fill = (rows: number, columns: number, value: () => number): Tensor =>
      tensor(Float32Array.from({ length: rows * columns }, value), [rows, columns])
    if (part.kind === 'embedding') {
      checkEmbedding(read, part)
      // Of an embedding [vocab, width] the rows are the inputs.
      return [place, { a: fill(rank, inner, () => 0), b: fill(out, rank, gaussian) }]
    }
    const a = fill(rank, inner, () => (2 * uniform() - 1) / Math.sqrt(inner))
    const b = fill(out, rank, () => 0)
    if (!o.dora) return [place, { a, b }]
    const layout = part.kind === 'head' ? 'out-in' : model.spec.layout
    return [place, { a, b, magnitude: rowNorms(leafAt(model, `${place}.weight`), part, layout) }]
  })
  const saved = savedLeaves(parts, read).map(({ place }): [string, Tensor] => {
    const leaf = leafAt(model, place)
    return [place, tensor(Float32Array.from(leaf.data as Float32Array), leaf.sizes)]
  })
  return {
    kind: 'lora',
    config,
    params: {
      linears: Object.fromEntries(linears),
      ...(saved.length > 0 && { saved: Object.fromEntries(saved) }),
    },
    scales: scalesOf(read, chosen),
    strength: full(),
  }
}

/** The first pattern that fits counts, and files have them sorted. */
const sorted = (patterns: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(patterns).sort(([a], [b]) => (a < b ? -1 : 1)))

export const rankOf = (config: LoraConfig, { module }: ModulePart): number =>
  byPattern(config.rank_pattern, module, config.r)

/** Factors of the updates: one number where they agree. */
export function scalesOf(config: LoraConfig, parts: readonly ModulePart[]): Tensor {
  const scales = parts.map((part) => {
    const rank = rankOf(config, part)
    const alpha = byPattern(config.alpha_pattern, part.module, config.lora_alpha)
    return alpha / (config.use_rslora ? Math.sqrt(rank) : rank)
  })
  return scales.every((scale) => scale === scales[0])
    ? tensor([scales[0]!], [])
    : tensor(Float32Array.from(scales))
}

/** Throws for what an embedding cannot have. */
export function checkEmbedding({ use_dora: dora }: LoraConfig, { module }: ModulePart): void {
  if (dora) throw new Error(`DoRA of the embedding '${module}' is not supported: leave it out of the targets`)
}

/** Length of each row of a matrix [out, in], or column where it is [in, out]: [out]. */
function rowNorms(weight: Tensor, { inner, out }: ModulePart, layout: DecoderSpec['layout']): Tensor {
  const data = weight.data as Float32Array
  const norms = new Float32Array(out)
  for (let o = 0; o < out; o++) {
    let sum = 0
    for (let i = 0; i < inner; i++) sum += data[layout === 'out-in' ? o * inner + i : i * out + o]! ** 2
    norms[o] = Math.sqrt(sum)
  }
  return tensor(norms)
}
