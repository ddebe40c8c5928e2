/** `glossa export`: the model as an ONNX file. */
import * as z from 'zod'
import { exportModel } from '../model/index.ts'
import { jsonOption, modelFlags, modelOptions, openModel } from './common.ts'
import { bytes, dim, print, printJson, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'export',
  summary: 'Write the model as an ONNX file',
  options: z.strictObject({
    ...modelOptions.shape,
    output: z
      .string()
      .regex(/\.onnx$/, 'must end in .onnx')
      .describe('Where to; large weights go to FILE.onnx.data'),
    tap: z.array(z.string().min(1)).optional().describe('A site that becomes an output'),
    cache: z.boolean().default(false).describe('One pass with a cache of keys and values, for generation'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, output: { short: 'o', value: 'FILE.onnx' }, tap: { value: 'SITE' } },
  notes: `int64 input_ids [batch, sequence] give logits. With --cache also 'lengths' (tokens that each row has in the
cache), 'at' (whose logits are wanted) and past.N.key, past.N.value [batch, heads, capacity, size]: begin with zeros
of the capacity that you need, and feed each present.N.* back as past.N.*. The operators are those of standard ONNX;
int8, int4 and --cache need MatMulNBits and GroupQueryAttention of ONNX Runtime.`,
  async run({ output, tap = [], cache, json, ...settings }) {
    await using opened = await openModel(settings)
    const { model } = opened
    const metadata = {
      'glossa.source': model.path.replace(/^.*[/\\]/, ''),
      'glossa.weights': settings.weights,
      'glossa.spec': JSON.stringify(model.spec),
    }
    const { files, inputs, outputs } = exportModel(model, output, { read: tap, cache, metadata })
    if (json) {
      printJson({ files, inputs, outputs, weights: settings.weights })
      return 0
    }
    const rows = [
      ...inputs.map((port) => ['input', port] as const),
      ...outputs.map((port) => ['output', port] as const),
    ]
    print(table(rows.map(([kind, { name, dtype, shape }]) => [kind, name, `${dtype}[${shape.join(', ')}]`])))
    for (const file of files) print(dim(`wrote ${file.path}, ${bytes(file.bytes)}\n`))
    return 0
  },
})
