import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { TokenizerError } from './errors.ts'
import { chatTemplateBeside } from './load/chatTemplate.ts'
import { readJson } from './load/files.ts'
import { tokenizerFromHuggingFace } from './load/huggingface.ts'
import { tokenizerFromLlama2c } from './load/llama2c.ts'
import type { Tokenizer } from './tokenizer.ts'

export {
  applyChatTemplate,
  type ChatMessage,
  type ChatOptions,
  type ChatPrompt,
  chatTemplateSource,
  renderChat,
} from './chat.ts'
export { type TokenizerFiles, templateField, tokenizerFilesFromGguf } from './convert/fromGguf.ts'
export { type TokenizerMetadata, tokenizerToGguf } from './convert/toGguf.ts'
export { TokenizerError } from './errors.ts'
export { renderTemplate } from './jinja.ts'
export { chatTemplateBeside } from './load/chatTemplate.ts'
export { tokenizerFromGguf } from './load/gguf.ts'
export { type HuggingFaceFiles, tokenizerFromHuggingFace } from './load/huggingface.ts'
export { tokenizerFromLlama2c } from './load/llama2c.ts'
export { renyiEfficiency, type TokenizerMeasures, TokenizerMeter } from './measure.ts'
export type {
  ChatTemplate,
  DecodeOptions,
  DecodeStream,
  EncodeOptions,
  Encoding,
  Tokenizer,
} from './tokenizer.ts'
export {
  parseToolCalls,
  type ToolCall,
  ToolCallError,
  type ToolCallFormat,
  type ToolCalls,
  toolCallFormat,
} from './toolCalls.ts'
export * from './train/index.ts'
export { type TurnEnd, turnEnd } from './turnEnd.ts'

/**
 * The tokenizer of a model's folder, or of one file: `tokenizer.json` (with the configurations beside it) or
 * llama2.c's `tokenizer.bin`. Throws a TokenizerError that says what is wrong, and where.
 */
export function loadTokenizer(folderOrFile: string): Tokenizer {
  const isFolder = existsSync(folderOrFile) && statSync(folderOrFile).isDirectory()
  if (!isFolder) return loadFile(folderOrFile)
  const file = ['tokenizer.json', 'tokenizer.bin']
    .map((name) => join(folderOrFile, name))
    .find((path) => existsSync(path))
  if (file === undefined)
    throw new TokenizerError(folderOrFile, 'folder', 'has no tokenizer.json or tokenizer.bin')
  return loadFile(file)
}

function loadFile(file: string): Tokenizer {
  if (file.endsWith('.bin')) return tokenizerFromLlama2c(file)
  if (!file.endsWith('.json')) {
    const hint = file.endsWith('.gguf')
      ? '; a GGUF file is read with store, its metadata with tokenizerFromGguf'
      : ''
    throw new TokenizerError(file, 'file', `is neither a tokenizer.json nor a tokenizer.bin${hint}`)
  }
  const beside = (name: string) => {
    const path = join(file, '..', name)
    return existsSync(path) ? path : undefined
  }
  const source = (name: string) => {
    const path = beside(name)
    return path === undefined ? undefined : { json: readJson(path), file: path }
  }
  return tokenizerFromHuggingFace({
    tokenizer: { json: readJson(file), file },
    config: source('tokenizer_config.json'),
    specialTokensMap: source('special_tokens_map.json'),
    generationConfig: source('generation_config.json'),
    chatTemplate: chatTemplateBeside(file),
  })
}
