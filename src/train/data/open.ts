/** Data sets by what they are called: files, folders, patterns, names on the hub. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { globPattern, isGlob } from '../../store/glob.ts'
import { type HubSettings, hubSettings, isRevision, locateDataset } from '../../store/index.ts'
import { openJson, openJsonLines } from './json.ts'
import { openParquet } from './parquet.ts'
import { concatRows } from './rows.ts'
import { openTable } from './table.ts'
import { openText } from './text.ts'
import type { Row, Rows } from './types.ts'

/** How files are read, whichever of it their kind knows. */
const reading = {
  documents: z.enum(['separator', 'line', 'file']).optional().describe('What a document is in a .txt'),
  separator: z.string().min(1).optional().describe('The line between documents in a .txt'),
  delimiter: z.string().length(1).optional().describe('What is between fields in a .csv'),
  columns: z.array(z.string()).min(1).optional().describe('Columns to read of a .parquet'),
}

const filesSchema = z.strictObject({
  files: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .describe('Files, folders or patterns'),
  ...reading,
})

const hubSchema = z.strictObject({
  hub: z
    .string()
    .regex(/^[\w-][\w.-]*\/[\w-][\w.-]*$/, 'is a name as org/name')
    .describe('A data set of the hub'),
  revision: z.string().refine(isRevision, 'is no revision').optional().describe('A branch, tag or commit'),
  config: z.string().min(1).optional().describe('One of its tables'),
  split: z.string().min(1).optional().describe('One of its splits, by default train'),
  files: z.array(z.string().min(1)).min(1).optional().describe('Patterns of its files, instead of both'),
  ...reading,
})

type FilesSpec = z.infer<typeof filesSchema>
type HubSpec = z.infer<typeof hubSchema>
type Reading = Omit<FilesSpec, 'files'>

/** `data.jsonl`, `folder`, `data/*.parquet`, `hf://datasets/org/name`, several of these, or one with options. */
export type RowsSpec = string | readonly string[] | FilesSpec | HubSpec

export interface OpenOptions {
  /** Where the hub is, and its cache (default: as the environment says). */
  readonly settings?: HubSettings
  readonly signal?: AbortSignal
  /** Called with the bytes that have come from the hub, of those that have to. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Opens a data set: JSON Lines, JSON, CSV, TSV, text or Parquet by their extensions, all but the last `.gz` too. Several
 * files are one after the other, in the order of their names within a folder or pattern, and have to be of one
 * kind. An option that the kind does not know is an error, and so is a name that leads to no file.
 */
export async function openRows(spec: RowsSpec, options: OpenOptions = {}): Promise<Rows<Row>> {
  if (typeof spec === 'string') return openNamed(spec, {}, options)
  if (Array.isArray(spec)) return concatRows(...(await inTurn(spec, (name) => openNamed(name, {}, options))))
  if ('hub' in spec) return openHub(checked(hubSchema, spec), options)
  const { files, ...how } = checked(filesSchema, spec)
  return concatRows(...(await inTurn([files].flat(), (name) => openNamed(name, how, options))))
}

function checked<T>(schema: z.ZodType<T>, spec: unknown): T {
  const result = schema.safeParse(spec)
  if (!result.success) throw new Error(`data set: ${z.prettifyError(result.error)}`)
  return result.data
}

/** One after the other: opening reads files through. */
async function inTurn<T, U>(all: readonly T[], open: (one: T) => Promise<U>): Promise<U[]> {
  const opened: U[] = []
  for (const one of all) opened.push(await open(one))
  return opened
}

async function openNamed(name: string, how: Reading, options: OpenOptions): Promise<Rows<Row>> {
  const hub = hubName(name)
  if (hub) return openHub(checked(hubSchema, { ...hub, ...how }), options)
  return openFiles(name, filesOf(name), how)
}

/** `hf://datasets/org/name@revision/path`, as fsspec has it; the path may be a folder or a pattern. */
function hubName(name: string): HubSpec | undefined {
  if (!name.startsWith('hf://')) return undefined
  const [, hub, revision, path] =
    /^hf:\/\/datasets\/([^/@]+\/[^/@]+)(?:@([^/]+))?(?:\/(.+))?$/.exec(name) ?? []
  if (hub === undefined) throw new Error(`'${name}' is no data set: hf://datasets/org/name`)
  const files =
    path === undefined ? undefined : isGlob(path) || kindOf(path) ? [path] : [`${path.replace(/\/$/, '')}/**`]
  return { hub, ...(revision && { revision: decodeURIComponent(revision) }), ...(files && { files }) }
}

async function openHub(
  { hub, revision, config, split, files: asked, ...how }: HubSpec,
  { settings = hubSettings(process.env), ...transfer }: OpenOptions,
): Promise<Rows<Row>> {
  const reference = { repo: hub, revision, config, split, files: asked }
  const { folder, files } = await locateDataset(reference, settings, transfer)
  return openFiles(
    hub,
    files.map((file) => join(folder, file)),
    how,
  )
}

interface Kind {
  readonly name: string
  readonly fits: RegExp
  readonly options: readonly (keyof Reading)[]
  open(path: string, how: Reading): Promise<Rows<Row>>
}

const kinds: readonly Kind[] = [
  { name: 'JSON Lines', fits: /\.(jsonl|ndjson)(\.gz)?$/i, options: [], open: openJsonLines },
  { name: 'JSON', fits: /\.json(\.gz)?$/i, options: [], open: openJson },
  { name: 'a table', fits: /\.(csv|tsv)(\.gz)?$/i, options: ['delimiter'], open: openTable },
  { name: 'text', fits: /\.txt(\.gz)?$/i, options: ['documents', 'separator'], open: openText },
  { name: 'Parquet', fits: /\.parquet$/i, options: ['columns'], open: openParquet },
]

const kindOf = (path: string): Kind | undefined => kinds.find(({ fits }) => fits.test(path))
const extensions = '.jsonl, .json, .csv, .tsv, .txt (all .gz too), .parquet'

async function openFiles(name: string, files: readonly string[], how: Reading): Promise<Rows<Row>> {
  const [first, ...others] = new Set(
    files.map((file) => {
      const kind = kindOf(file)
      if (kind === undefined) throw new Error(`${file} is of no kind that is read here: ${extensions}`)
      return kind
    }),
  )
  if (others.length > 0) {
    const names = [first!, ...others].map((kind) => kind.name).join(', ')
    throw new Error(`${name} has files of several kinds (${names}): name them by a pattern such as *.jsonl`)
  }
  const unknown = (Object.keys(how) as (keyof Reading)[]).find(
    (key) => how[key] !== undefined && !first!.options.includes(key),
  )
  if (unknown !== undefined)
    throw new Error(`${name} is ${first!.name}, for which there is no option '${unknown}'`)
  const opened = await inTurn(files, (file) => first!.open(file, how))
  return opened.length === 1 ? opened[0]! : concatRows(...opened)
}

/** The files of a path: itself; all of a folder that can be read, hidden ones not; all that fit a pattern. */
function filesOf(name: string): string[] {
  if (existsSync(name)) {
    if (!statSync(name).isDirectory()) return [name]
    const found = namesIn(name).filter((path) => kindOf(path))
    if (found.length === 0) throw new Error(`${name} is a folder without data: ${extensions}`)
    return found.map((path) => join(name, path))
  }
  if (!isGlob(name)) throw new Error(`there is no file or folder ${name}`)
  const parts = name.split('/')
  const fixed = parts.slice(0, parts.findIndex(isGlob)).join('/')
  const root = fixed === '' ? (name.startsWith('/') ? '/' : '.') : fixed
  const pattern = globPattern(parts.slice(parts.findIndex(isGlob)).join('/'))
  const found = existsSync(root) ? namesIn(root).filter((path) => pattern.test(path)) : []
  if (found.length === 0) throw new Error(`no file fits the pattern ${name}`)
  return found.map((path) => join(root, path))
}

/** Files below a folder, links followed, by their paths in it. */
function namesIn(root: string, below = ''): string[] {
  const names: string[] = []
  for (const entry of readdirSync(join(root, below)).sort()) {
    if (entry.startsWith('.')) continue
    const path = below === '' ? entry : `${below}/${entry}`
    if (statSync(join(root, path)).isDirectory()) names.push(...namesIn(root, path))
    else names.push(path)
  }
  return names
}
