/** Which modules an adapter is for, by PEFT's rules (`check_target_module_exists`, `get_pattern_key`). */
import type { ModulePart } from '../../model/index.ts'

/** The options that choose modules, under PEFT's names. */
export interface Activity {
  readonly target_modules?: readonly string[] | string | null | undefined
  readonly exclude_modules?: readonly string[] | string | null | undefined
  readonly modules_to_save?: readonly string[] | null | undefined
  readonly layers_to_transform?: readonly number[] | number | null | undefined
  readonly layers_pattern?: readonly string[] | string | null | undefined
}

/** A whole name, or its end after a dot. */
const endsWith = (module: string, name: string): boolean => module === name || module.endsWith(`.${name}`)

/** Python's pattern as one of JavaScript; the two agree in all that is common in such patterns. */
function pattern(text: string, before = '', after = ''): RegExp {
  try {
    return new RegExp(`^${before}(?:${text})${after}$`)
  } catch (error) {
    throw new Error(`the pattern '${text}' cannot be read: ${(error as Error).message}`)
  }
}

/** Whether names (by their end) or a pattern (by the whole) choose a module. */
export const chooses = (wanted: readonly string[] | string, module: string): boolean =>
  typeof wanted === 'string' ? pattern(wanted).test(module) : wanted.some((name) => endsWith(module, name))

/** Whether a module or one around it is saved whole. */
export const isSaved = ({ modules_to_save: saved }: Activity, module: string): boolean =>
  (saved ?? []).some((name) => pattern(name, '(?:|.*\\.)', '(?:|\\..*)').test(module))

/** The value of the first pattern that fits the end of a module's name, or the general one. */
export function byPattern(
  patterns: Readonly<Record<string, number>> | null | undefined,
  module: string,
  otherwise: number,
): number {
  const [, value] =
    Object.entries(patterns ?? {}).find(([text]) => pattern(text, '(?:.*\\.)?').test(module)) ?? []
  return value ?? otherwise
}

function layerChosen(
  { layers_to_transform: layers, layers_pattern: patterns }: Activity,
  module: string,
): boolean {
  if (layers === null || layers === undefined || (Array.isArray(layers) && layers.length === 0)) return true
  const list = patterns === null || patterns === undefined ? [] : [patterns].flat()
  // The first number after two names is that of the layer, not that of an expert in it.
  const found =
    list.length === 0
      ? /^.*?\.[^.]*\.(\d+)\./.exec(module)
      : list.map((name) => new RegExp(`^.*?\\.(?:${name})\\.(\\d+)\\.`).exec(module)).find((match) => match)
  return found ? [layers].flat().includes(Number(found[1])) : false
}

/** The parts that an adapter changes. Throws for a name that no part has, and for parts that cannot be adapted. */
export function targeted(parts: readonly ModulePart[], activity: Activity): ModulePart[] {
  const { target_modules: wanted, exclude_modules: excluded } = activity
  if (wanted === null || wanted === undefined) throw new Error('target_modules is missing')
  const allLinear = typeof wanted === 'string' && wanted.toLowerCase() === 'all-linear'
  const byName = (part: ModulePart): boolean =>
    allLinear ? part.kind === 'linear' : chooses(wanted, part.module)
  if (typeof wanted !== 'string')
    for (const name of wanted)
      if (!parts.some(({ module }) => endsWith(module, name)))
        throw new Error(`the model has no module '${name}'; there are ${lastNames(parts).join(', ')}`)
  if (
    typeof wanted === 'string' &&
    (activity.layers_to_transform ?? activity.layers_pattern ?? undefined) !== undefined
  )
    throw new Error(
      'layers_to_transform and layers_pattern go with a list of target_modules, not with a pattern',
    )
  const found = parts.filter(
    (part) =>
      byName(part) &&
      !(excluded && excluded.length > 0 && chooses(excluded, part.module)) &&
      !isSaved(activity, part.module) &&
      layerChosen(activity, part.module),
  )
  if (found.length === 0)
    throw new Error(`target_modules ${JSON.stringify(wanted)} choose nothing of this model`)
  const wrong = found.find(({ kind }) => kind === 'norm' || kind === 'positions')
  if (wrong) throw new Error(`'${wrong.module}' is neither a linear part nor the embedding of tokens`)
  return found
}

/** A parameter that is saved whole. */
export type SavedLeaf = ModulePart['leaves'][number] & Pick<ModulePart, 'turned'>

/** The parameters that are saved whole. Throws for a name that no part has. */
export function savedLeaves(parts: readonly ModulePart[], activity: Activity): SavedLeaf[] {
  for (const name of activity.modules_to_save ?? [])
    if (!parts.some(({ module }) => isSaved({ modules_to_save: [name] }, module)))
      throw new Error(
        `modules_to_save: the model has no module '${name}' of its own (a tied head is its embedding); there are ${lastNames(parts).join(', ')}`,
      )
  const saved = parts.filter(({ module }) => isSaved(activity, module))
  return saved.flatMap(({ leaves, turned }) => leaves.map((leaf) => ({ ...leaf, turned })))
}

/** The shortest names that choose these parts and no others: `c_attn`, but `mlp.c_proj`. */
export function shortNames(parts: readonly ModulePart[], chosen: readonly ModulePart[]): string[] {
  const others = parts.filter((part) => !chosen.includes(part))
  return [
    ...new Set(
      chosen.map(({ module }) => {
        const words = module.split('.')
        const ends = words.map((_, i) => words.slice(-1 - i).join('.'))
        return ends.find((end) => !others.some((other) => endsWith(other.module, end))) ?? module
      }),
    ),
  ]
}

const lastNames = (parts: readonly ModulePart[]): string[] => [
  ...new Set(parts.map(({ module }) => module.split('.').at(-1)!)),
]
