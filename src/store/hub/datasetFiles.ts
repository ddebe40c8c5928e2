/** Which of a data set's files are a split: as its card says, or by their names. */
import { globPattern } from '../glob.ts'
import { type CardConfig, cardConfigs } from './card.ts'
import { isSafe, known, unsafe } from './choose.ts'
import { HubError } from './errors.ts'

export interface SplitChoice {
  /** One of the data set's several tables, which the hub calls subsets. */
  readonly config?: string | undefined
  /** Default `train`. */
  readonly split?: string | undefined
  /** Patterns of files, instead of both. */
  readonly files?: readonly string[] | undefined
}

/** The files of a split, in order. `card` is the text of README.md. HubError that lists what there is. */
export function chooseSplit(
  repo: string,
  paths: readonly string[],
  card: string | undefined,
  choice: SplitChoice,
): string[] {
  const chosen = choice.files
    ? matching(paths, choice.files)
    : splitOf(repo, paths, card, choice.config, choice.split ?? 'train')
  if (chosen.length === 0) throw new HubError(`${repo} has no files for ${text(choice)}. ${known(paths)}`)
  for (const path of chosen) if (!isSafe(path)) throw unsafe(repo, path)
  return chosen
}

const text = ({ files, config, split = 'train' }: SplitChoice): string =>
  files ? files.join(', ') : `the split '${split}'${config === undefined ? '' : ` of '${config}'`}`

const matching = (paths: readonly string[], globs: readonly string[]): string[] => {
  const patterns = globs.map(globPattern)
  return paths.filter((path) => patterns.some((pattern) => pattern.test(path))).sort()
}

function splitOf(
  repo: string,
  paths: readonly string[],
  card: string | undefined,
  config: string | undefined,
  split: string,
): string[] {
  const configs = card === undefined ? undefined : cardConfigs(repo, card)
  if (configs !== undefined) {
    const { name, splits } = chooseConfig(repo, configs, config)
    const globs = splits.get(split)
    if (globs !== undefined) return matching(paths, globs)
    if (splits.size > 0) throw noSplit(repo, split, [...splits.keys()], name)
    // A table without files of its own in the card: all that there are.
    return byName(repo, paths, split)
  }
  return byName(repo, config === undefined ? paths : inFolder(repo, paths, config), split)
}

function chooseConfig(repo: string, configs: readonly CardConfig[], wanted: string | undefined): CardConfig {
  const found =
    wanted !== undefined
      ? configs.find(({ name }) => name === wanted)
      : (configs.find(({ isDefault }) => isDefault) ??
        configs.find(({ name }) => name === 'default') ??
        (configs.length === 1 ? configs[0] : undefined))
  if (found !== undefined) return found
  const names = configs.map(({ name }) => name).join(', ')
  const reason = wanted === undefined ? 'has several configs' : `has no config '${wanted}'`
  throw new HubError(`${repo} ${reason}; name one of: ${names}`)
}

const noSplit = (repo: string, split: string, splits: readonly string[], config?: string): HubError =>
  new HubError(
    `${repo} has no split '${split}'${config === undefined ? '' : ` in its config '${config}'`}; there are: ${splits.join(', ')}`,
  )

function inFolder(repo: string, paths: readonly string[], config: string): string[] {
  const found = paths.filter((path) => path.split('/').slice(0, -1).includes(config))
  if (found.length === 0)
    throw new HubError(`${repo} has no folder for a config '${config}'. ${known(paths)}`)
  return found
}

/** The kinds of files, the better ones first. */
const kinds = [
  /\.parquet$/,
  /\.jsonl(\.gz)?$/,
  /\.json(\.gz)?$/,
  /\.csv(\.gz)?$/,
  /\.tsv(\.gz)?$/,
  /\.txt(\.gz)?$/,
]
/** What describes a data set or is beside one. */
const beside = /(^|\/)(dataset_infos?|config|state|requirements|license)\.(json|txt)$/i

const words: Readonly<Record<string, readonly string[]>> = {
  train: ['train', 'training'],
  validation: ['validation', 'valid', 'val', 'dev'],
  test: ['test', 'testing', 'eval', 'evaluation'],
}

/** As the library `datasets` finds them: by words for splits in names; where no file has one, all are `train`. */
function byName(repo: string, paths: readonly string[], split: string): string[] {
  const data = paths.filter((path) => !beside.test(path))
  const kind = kinds.find((pattern) => data.some((path) => pattern.test(path)))
  if (kind === undefined)
    throw new HubError(`${repo} has no files of data that are read here. ${known(paths)}`)
  const bySplit = new Map<string, string[]>()
  for (const path of data.filter((one) => kind.test(one)).sort()) {
    const name = splitIn(path) ?? ''
    bySplit.set(name, [...(bySplit.get(name) ?? []), path])
  }
  const named = [...bySplit.keys()].filter((name) => name !== '')
  const chosen = bySplit.get(named.length === 0 && split === 'train' ? '' : split)
  if (chosen === undefined) throw noSplit(repo, split, named.length === 0 ? ['train'] : named)
  checkOneTable(repo, chosen)
  return chosen
}

/** The name of a file says more than its folders do. */
function splitIn(path: string): string | undefined {
  for (const part of path.toLowerCase().split('/').reverse()) {
    const parts = part.split(/[^a-z]+/)
    const found = Object.entries(words).find(([, names]) => names.some((name) => parts.includes(name)))
    // The hub converts the first 5 GB of large data sets, and calls the folder partial-train.
    if (found) return part.startsWith('partial-') ? `partial-${found[0]}` : found[0]
  }
  return undefined
}

/** Files of one split in several folders are several tables. */
function checkOneTable(repo: string, chosen: readonly string[]): void {
  const folders = new Set(chosen.map((path) => tableOf(path)))
  if (folders.size > 1)
    throw new HubError(
      `${repo} has several tables, in the folders ${[...folders].join(', ')}: name one as config`,
    )
}

/** The first folder that is neither called after a split nor `data`. */
const tableOf = (path: string): string =>
  path
    .split('/')
    .slice(0, -1)
    .find((folder) => folder !== 'data' && splitIn(folder) === undefined) ?? '.'
