/**
 * IA3 (Liu et al. 2022): keys, values and what enters the last matrix of the feed-forward part, each times a trained
 * vector that starts at one. Vectors of feed-forward modules scale inputs [in], the others outputs [out].
 */
import * as z from 'zod'
import { tensor } from '../../array/index.ts'
import type { LinearParams } from '../../model/adapters.ts'
import { modulesOf } from '../../model/modules.ts'
import { type Adapter, type AdapterBase, full } from './adapter.ts'
import { commonConfig, type Ia3Config, type PeftConfig, readPeftConfig } from './config.ts'
import { chooses, shortNames, targeted } from './targets.ts'

const modules = z.union([z.array(z.string().min(1)).min(1), z.string().min(1)]).optional()
export const ia3Schema = z.strictObject({
  targets: modules.describe(
    'Modules by the end of their name, or one pattern; by default those of the paper',
  ),
  feedForward: modules.describe('Those among them whose inputs are scaled'),
  base: z.string().optional().describe('Name of the model on the hub, for the file'),
})
export type Ia3Options = z.input<typeof ia3Schema>

/** A new adapter that does nothing yet. */
export function ia3(model: AdapterBase, options: Ia3Options = {}): Adapter {
  const { targets, feedForward, base } = ia3Schema.parse(options)
  const parts = modulesOf(model)
  const inside = parts.filter(({ place }) => /\.mlp\..*down$|\.mlp\.down$/.test(place))
  const standard = [...parts.filter(({ place }) => /\.attn\.(k|v|qkv)$/.test(place)), ...inside]
  const config: PeftConfig = {
    ...commonConfig(base),
    peft_type: 'IA3',
    target_modules: targets ?? shortNames(parts, standard),
    exclude_modules: null,
    feedforward_modules: feedForward ?? (targets === undefined ? shortNames(parts, inside) : []),
    modules_to_save: null,
    fan_in_fan_out: model.spec.layout === 'in-out',
    init_ia3_weights: true,
  }
  const read = readPeftConfig(config, 'ia3').config as Ia3Config
  const linears = targeted(parts, read).map(({ module, place, kind, inner, out }): [string, LinearParams] => {
    if (kind === 'embedding') throw new Error(`IA3 of the embedding '${module}' is not supported`)
    const ones = (size: number) => tensor(new Float32Array(size).fill(1))
    return [place, isFeedForward(read, module) ? { inputs: ones(inner) } : { outputs: ones(out) }]
  })
  return { kind: 'ia3', config, params: { linears: Object.fromEntries(linears) }, strength: full() }
}

export const isFeedForward = ({ feedforward_modules: names }: Ia3Config, module: string): boolean =>
  names !== null && names !== undefined && chooses(names, module)
