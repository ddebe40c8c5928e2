/** `glossa convert`: a Hugging Face folder as a GGUF file, and back. */
import * as z from 'zod'
import { convertToGguf, convertToHuggingFace, ggufArchitectures } from '../model/index.ts'
import { jsonOption } from './common.ts'
import { bytes, dim, note, print, printJson } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'convert',
  summary: 'Convert a Hugging Face folder to a GGUF file, and a Llama back',
  options: z.strictObject({
    model: z.string().min(1).describe('A folder in Hugging Face layout, or a .gguf file'),
    output: z.string().min(1).describe('A .gguf file, or a new folder'),
    type: z
      .enum(['f32', 'f16', 'q8_0', 'q4_0'])
      .optional()
      .describe('What matrices become in a GGUF file, f16 if not given'),
    json: jsonOption,
  }),
  flags: {
    model: { short: 'm', value: 'MODEL' },
    output: { short: 'o', value: 'FILE.gguf|FOLDER' },
    type: { also: ['outtype'] },
  },
  notes: `GGUF files are made of ${ggufArchitectures.flatMap(({ from }) => from).join(', ')};
what llama.cpp would compute otherwise is refused by name (a window in StarCoder2, say). Into a folder weights keep their type; quantised ones become f32, which holds them exactly. Files are
written whole or not at all.`,
  run({ model, output, type, json }) {
    const toGguf = output.endsWith('.gguf')
    if (!toGguf && type !== undefined)
      throw new UsageError('--type is for GGUF files: the output must end in .gguf')
    const { files, tensors, kept } = toGguf
      ? convertToGguf(model, output, type ?? 'f16')
      : convertToHuggingFace(model, output)
    if (json) {
      printJson({ files, tensors, kept })
      return Promise.resolve(0)
    }
    if (kept.length > 0) note(`rows that are not whole blocks of ${type}: ${kept.join(', ')}`)
    print(`${tensors} tensors\n`)
    for (const file of files) print(dim(`wrote ${file.path}, ${bytes(file.bytes)}\n`))
    return Promise.resolve(0)
  },
})
