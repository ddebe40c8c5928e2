/**
 * What the card of a data set (README.md) says about its files: the list `configs` of the YAML at its top.
 *
 * https://huggingface.co/docs/hub/datasets-manual-configuration
 */
import { HubError } from './errors.ts'

export interface CardConfig {
  readonly name: string
  readonly isDefault: boolean
  /** Patterns of files by split, in the order given. */
  readonly splits: ReadonlyMap<string, readonly string[]>
}

/** Undefined for a card that says nothing about files. HubError for YAML that is more than lists, maps and scalars. */
export function cardConfigs(repo: string, card: string): CardConfig[] | undefined {
  const top = /^---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)/s.exec(card.replace(/^\ufeff/, ''))?.[1]
  const block = top === undefined ? undefined : blockOf(top, 'configs')
  if (block === undefined) return undefined
  const fail = (reason: string): HubError =>
    new HubError(
      `${repo}: the configs in its README.md cannot be used (${reason}): name the files, files: 'data/*.parquet'`,
    )
  const configs = new YamlReader(block, fail).read()
  if (!Array.isArray(configs)) throw fail('they are no list')
  return configs.map((config) => readConfig(config, fail))
}

type Fail = (reason: string) => HubError

function readConfig(config: Yaml, fail: Fail): CardConfig {
  if (!isMap(config) || typeof config.config_name !== 'string') throw fail('one has no config_name')
  const { config_name: name, data_files: files, data_dir: folder } = config
  const within = (path: string): string =>
    typeof folder === 'string' ? `${folder.replace(/\/$/, '')}/${path}` : path
  const paths = (value: Yaml | undefined): string[] => {
    const all = Array.isArray(value) ? value : [value]
    if (!all.every((path) => typeof path === 'string')) throw fail(`the data_files of ${name} are no paths`)
    return (all as string[]).map((path) => within(path.replace(/^\.\//, '')))
  }
  const splits = new Map<string, string[]>()
  if (Array.isArray(files) && files.every(isMap))
    for (const { split, path } of files as YamlMap[]) {
      if (typeof split !== 'string') throw fail(`the data_files of ${name} have no split`)
      splits.set(split, paths(path))
    }
  else if (isMap(files)) for (const [split, path] of Object.entries(files)) splits.set(split, paths(path))
  else if (files !== undefined) splits.set('train', paths(files))
  return { name, isDefault: config.default === 'true', splits }
}

/** The lines below a key at the margin. */
function blockOf(yaml: string, key: string): string[] | undefined {
  const lines = yaml.split(/\r?\n/)
  const at = lines.findIndex((line) => line.startsWith(`${key}:`))
  if (at < 0) return undefined
  const rest = lines.slice(at + 1)
  const end = rest.findIndex((line) => /^[^\s#-]/.test(line))
  return end < 0 ? rest : rest.slice(0, end)
}

type Yaml = string | Yaml[] | YamlMap
type YamlMap = { readonly [key: string]: Yaml }

const isMap = (value: Yaml | undefined): value is YamlMap =>
  typeof value === 'object' && !Array.isArray(value)

interface Line {
  readonly indent: number
  readonly text: string
}

/** Block lists and maps of plain or quoted scalars, and lists in brackets: what cards have there. */
class YamlReader {
  readonly #lines: Line[]
  readonly #fail: Fail
  #at = 0

  constructor(lines: readonly string[], fail: Fail) {
    this.#fail = fail
    this.#lines = lines
      .map((line) => ({
        indent: line.search(/\S|$/),
        text: line
          .trim()
          .replace(/(^|\s)#.*$/, '')
          .trimEnd(),
      }))
      .filter(({ text }) => text !== '')
  }

  read(): Yaml {
    const value = this.#block(0)
    if (this.#at < this.#lines.length) throw this.#fail(`'${this.#lines[this.#at]!.text}' is out of line`)
    return value
  }

  /** The list or map that begins at the next line, if that is indented enough. */
  #block(least: number): Yaml {
    const line = this.#lines[this.#at]
    if (line === undefined || line.indent < least) throw this.#fail('a value is missing')
    return isItem(line) ? this.#list(line.indent) : this.#map(line.indent)
  }

  #list(indent: number): Yaml[] {
    const items: Yaml[] = []
    for (let line = this.#next(indent); line && isItem(line); line = this.#next(indent)) {
      const text = line.text.slice(1).trimStart()
      if (text === '') {
        this.#at++
        items.push(this.#block(indent + 1))
      } else if (keyPattern.test(text)) {
        // The map begins behind the dash.
        this.#lines[this.#at] = { indent: indent + line.text.length - text.length, text }
        items.push(this.#map(indent + line.text.length - text.length))
      } else {
        this.#at++
        items.push(this.#scalar(text))
      }
    }
    return items
  }

  #map(indent: number): YamlMap {
    const entries: [string, Yaml][] = []
    for (let line = this.#next(indent); line && !isItem(line); line = this.#next(indent)) {
      const [, key, text] = keyPattern.exec(line.text) ?? []
      if (key === undefined) throw this.#fail(`'${line.text}' is no key with a value`)
      this.#at++
      // A list below a key may stand at the key's own margin.
      const following = this.#lines[this.#at]
      const list = following !== undefined && following.indent === indent && isItem(following)
      entries.push([unquoted(key), text ? this.#scalar(text) : this.#block(list ? indent : indent + 1)])
    }
    return Object.fromEntries(entries)
  }

  #next(indent: number): Line | undefined {
    const line = this.#lines[this.#at]
    return line?.indent === indent ? line : undefined
  }

  #scalar(text: string): Yaml {
    if (/^\[.*\]$/.test(text))
      return text
        .slice(1, -1)
        .split(',')
        .map((item) => unquoted(item.trim()))
    if (/^[[{&*!|>%@`]/.test(text) && !/^\*\*?[./]/.test(text))
      throw this.#fail(`'${text}' is not understood`)
    return unquoted(text)
  }
}

const isItem = ({ text }: Line): boolean => text === '-' || text.startsWith('- ')
const keyPattern = /^([\w.-]+|"[^"]*"|'[^']*'):(?:\s+(.*))?$/

const unquoted = (text: string): string => /^(["'])(.*)\1$/.exec(text)?.[2] ?? text
