/** A model from bytes in memory: fetched, or chosen by the user of a page. */
import { readSafetensors } from '../store/safetensorsHeader.ts'
import { MemorySource } from '../store/source.ts'
import { tokenizerFromHuggingFace } from '../text/load/huggingface.ts'
import { bindModel, type LoadedModel, parseConfig } from './bind.ts'

/** Files of a folder in Hugging Face layout, by name. Without `tokenizer.json` the model takes token ids only. */
export interface ModelFiles {
  readonly 'config.json': Uint8Array
  readonly 'model.safetensors': Uint8Array
  readonly 'tokenizer.json'?: Uint8Array
  readonly 'tokenizer_config.json'?: Uint8Array
}

/** Reads a model as `load` does. Throws, naming the file and the reason. */
export function loadFiles(files: ModelFiles): LoadedModel {
  const text = (name: keyof ModelFiles): string => {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(files[name])
    } catch {
      throw new Error(`${name}: is not UTF-8 text`)
    }
  }
  const json = (name: keyof ModelFiles) => {
    try {
      return { json: JSON.parse(text(name)) as unknown, file: name }
    } catch (error) {
      throw new Error(`${name}: not valid JSON: ${(error as Error).message}`)
    }
  }
  for (const name of ['config.json', 'model.safetensors'] as const)
    if (!files[name]) throw new Error(`${name}: missing; a model needs it`)
  const checkpoint = readSafetensors(new MemorySource('model.safetensors', files['model.safetensors']))
  return bindModel(checkpoint, {
    ...parseConfig(text('config.json'), 'config.json'),
    source: 'config.json',
    tokenizer: () =>
      files['tokenizer.json'] &&
      tokenizerFromHuggingFace({
        tokenizer: json('tokenizer.json'),
        config: files['tokenizer_config.json'] && json('tokenizer_config.json'),
      }),
  })
}
