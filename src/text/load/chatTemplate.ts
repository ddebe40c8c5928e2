/** Chat templates that lie beside a tokenizer.json in files of their own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ChatTemplate } from '../tokenizer.ts'
import { readBytes, readJson } from './files.ts'
import { chatTemplateOf, parseConfig } from './special.ts'

/** `chat_template.jinja`, else what `chat_template.json` (of multimodal processors) holds. */
export function chatTemplateBeside(tokenizerFile: string): ChatTemplate | undefined {
  const [jinja, json] = ['chat_template.jinja', 'chat_template.json'].map((name) =>
    join(tokenizerFile, '..', name),
  ) as [string, string]
  if (existsSync(jinja)) return readBytes(jinja).toString('utf8')
  if (!existsSync(json)) return undefined
  return chatTemplateOf(parseConfig({ json: readJson(json), file: json }))
}
