/** Which of a repository's files a model for text needs. */
import { HubError } from './errors.ts'

export const wholeWeights = 'model.safetensors'
export const weightIndex = 'model.safetensors.index.json'

/** Everything beside the weights. Only the first must be there. */
export const sideFiles = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
] as const

export interface Choice {
  /** Which GGUF file: a part of its name, such as `Q4_0`. */
  readonly quant?: string | undefined
  /** One file by its name. */
  readonly file?: string | undefined
}

/** The files to fetch, weights last; where that is an index, those that it names are needed too. */
export function chooseFiles(repo: string, paths: readonly string[], { quant, file }: Choice): string[] {
  if (file !== undefined) {
    if (!paths.includes(file)) throw new HubError(`${repo} has no file '${file}'. ${known(paths)}`)
    if (!isSafe(file)) throw unsafe(repo, file)
    return [file]
  }
  if (quant !== undefined) return [chooseGguf(repo, paths, quant)]
  const weights = [wholeWeights, weightIndex].find((path) => paths.includes(path))
  if (weights !== undefined) {
    if (!paths.includes('config.json')) throw new HubError(`${repo} has weights, but no config.json`)
    return [...sideFiles.filter((path) => paths.includes(path)), weights]
  }
  if (paths.some(isGguf)) return [chooseGguf(repo, paths)]
  const pickle = paths.find((path) => /\.(bin|pt|pth|ckpt)$/.test(path))
  if (pickle !== undefined) throw pickled(repo, pickle)
  throw new HubError(`${repo} has neither ${wholeWeights} nor a .gguf file. ${known(paths)}`)
}

/** The one GGUF file whose name has the quantization in it, or that there is. */
export function chooseGguf(repo: string, paths: readonly string[], quant?: string): string {
  const all = paths.filter(isGguf)
  const fits = all.filter((path) => quant === undefined || parts(path).includes(parts(quant)))
  const [only, ...others] = fits.filter((path) => !isSplit(path))
  if (only === undefined && fits.length > 0)
    throw new HubError(`${repo}: ${fits[0]} is a part of a split file, which glossa does not read: join them`)
  if (only === undefined || others.length > 0) {
    const which = quant === undefined ? '' : ` with '${quant}' in the name`
    const way = `name one: ${repo}:Q4_0, or glossa pull ${repo} --file NAME`
    throw new HubError(`${repo} has ${only ? 'several' : 'no'} .gguf files${which}; ${way}. ${known(all)}`)
  }
  if (!isSafe(only)) throw unsafe(repo, only)
  return only
}

const isSplit = (path: string): boolean => /-\d{5}-of-\d{5}\.gguf$/i.test(path)

// Projectors for images are no models for text.
export const isGguf = (path: string): boolean => /\.gguf$/i.test(path) && !/mmproj/i.test(path)

/** A name with all separators alike, so that Q4_0 is not found in Q4_0_4_8 and IQ4_0 is not Q4_0. */
const parts = (text: string): string =>
  `-${text.toLowerCase().replace(/[./-]+/g, '-')}-`.replace(/-gguf-$/, '-')

/** Names of a server become paths here: none may lead out of the snapshot. */
export const isSafe = (path: string): boolean =>
  path.split('/').every((part) => /^[^\\:\p{Cc}]{1,240}$/u.test(part) && part !== '.' && part !== '..')

export const unsafe = (repo: string, path: string): HubError =>
  new HubError(`${repo}: '${path}' is not a name that a file can have here`)

export const known = (paths: readonly string[]): string =>
  `There are: ${paths.slice(0, 40).join(', ') || 'none'}${paths.length > 40 ? ', ...' : ''}`

function pickled(repo: string, file: string): HubError {
  const folder = repo.replace(/^.*\//, '')
  const [model, tokenizer] = ['M', 'T'].map(
    (part) => `${part}.from_pretrained('${repo}').save_pretrained('${folder}')`,
  )
  const load = 'from transformers import AutoModelForCausalLM as M, AutoTokenizer as T'
  return new HubError(
    `${repo} has its weights as PyTorch pickles only (${file}), which can run any code when they are loaded; ` +
      `glossa does not read them. If you trust it, convert it: python -c "${load}; ${model}; ${tokenizer}", ` +
      `and use -m ${folder}`,
  )
}
