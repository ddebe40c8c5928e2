/** `glossa export`: the model as an ONNX file, or as a folder for transformers.js. */
import * as z from 'zod'
import { exportFolder, exportModel } from '../model/index.ts'
import { jsonOption, modelFlags, modelOptions, openModel } from './common.ts'
import { bytes, dim, note, print, printJson, table } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'export',
  summary: 'Write the model as an ONNX file',
  options: z.strictObject({
    ...modelOptions.shape,
    output: z.string().min(1).describe('Where to; large weights go to FILE.onnx.data'),
    layout: z
      .enum(['file', 'transformers.js'])
      .default('file')
      .describe('One ONNX file, or the folder that transformers.js opens'),
    tap: z.array(z.string().min(1)).optional().describe('A site that becomes an output'),
    cache: z.boolean().default(false).describe('One pass with a cache of keys and values, for generation'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, output: { short: 'o', value: 'FILE.onnx|FOLDER' }, tap: { value: 'SITE' } },
  notes: `int64 input_ids [batch, sequence] give logits. With --cache also 'lengths' (tokens that each row has in the
cache), 'at' (whose logits are wanted) and past.N.key, past.N.value [batch, heads, capacity, size]: begin with zeros
of the capacity that you need, and feed each present.N.* back as past.N.*. The operators are those of standard ONNX;
int8, int4 and stored need MatMulNBits of ONNX Runtime. --layout transformers.js writes configuration, tokenizer and
onnx/model.onnx (f32), model_quantized.onnx (int8, dtype 'q8') or model_q4.onnx (int4, dtype 'q4'), each with its cache;
a folder can hold all three.`,
  async run({ output, layout, tap = [], cache, json, ...settings }) {
    if (layout === 'file' && !output.endsWith('.onnx'))
      throw new UsageError(`--output ${output}: must end in .onnx; a folder needs --layout transformers.js`)
    if (layout === 'transformers.js' && (cache || tap.length > 0))
      throw new UsageError(
        '--layout transformers.js has a cache of its own and no sites: leave out --cache and --tap',
      )
    await using opened = await openModel(settings)
    const { model } = opened
    const metadata = {
      'glossa.source': settings.model.replace(/^.*[/\\]/, ''),
      'glossa.weights': settings.weights,
      'glossa.spec': JSON.stringify(model.spec),
    }
    const { files, inputs, outputs } =
      layout === 'file'
        ? exportModel(model, output, { read: tap, cache: cache ? 'room' : 'none', metadata })
        : exportFolder(model, output, { weights: settings.weights, metadata })
    if (json) {
      printJson({ files, inputs, outputs, weights: settings.weights })
      return 0
    }
    if (layout === 'transformers.js' && !model.tokenizer)
      note(`${model.path} has no tokenizer: the folder has none either`)
    const rows = [
      ...inputs.map((port) => ['input', port] as const),
      ...outputs.map((port) => ['output', port] as const),
    ]
    print(table(rows.map(([kind, { name, dtype, shape }]) => [kind, name, `${dtype}[${shape.join(', ')}]`])))
    for (const file of files) print(dim(`wrote ${file.path}, ${bytes(file.bytes)}\n`))
    return 0
  },
})
