/** `glossa inspect`: what the model computes on the way, at named sites. */
import * as z from 'zod'
import { leaves, type Tensor } from '../array/index.ts'
import { type LoadedModel, load, sites } from '../model/index.ts'
import {
  encode,
  exactlyOne,
  jsonOption,
  modelFlags,
  modelOptions,
  openModel,
  tokensOption,
} from './common.ts'
import { locateModel } from './hub.ts'
import { dim, print, printJson, short, table } from './terminal.ts'
import { verb } from './verb.ts'

export default verb({
  name: 'inspect',
  summary: 'Look at activations; without --tap, list where',
  options: z.strictObject({
    ...modelOptions.shape,
    prompt: z.string().optional().describe('The text that the model reads'),
    tokens: tokensOption,
    tap: z
      .array(z.string().min(1))
      .optional()
      .describe('A site to read, such as blocks.0.hook_resid_post or logits'),
    nested: z.boolean().default(false).describe('JSON data as nested lists instead of one, row by row'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, prompt: { short: 'p' }, tap: { value: 'SITE' } },
  notes: `JSON: { site, dtype, shape, tokens, data }, a list of these for several taps; attention scores that causality
hides are -Infinity, which JSON writes as null.`,
  async run({ prompt, tokens, tap, nested, json, ...settings }) {
    if (!tap) {
      listSites(settings.model, load(await locateModel(settings.model)), json)
      return 0
    }
    exactlyOne({ '-p': prompt, '--tokens': tokens })
    await using opened = await openModel(settings)
    const { model } = opened
    const ids = prompt === undefined ? tokens! : encode(model, prompt)
    const reads = await model.run([ids], { read: tap })
    if (json) {
      const results = tap.map((site) => ({ site, ...describe(reads[site]!, nested), tokens: ids }))
      printJson(results.length === 1 ? results[0] : results)
    } else
      print(
        table([['site', ...columns], ...tap.map((site) => [site, ...summarise(reads[site]!)])], [2, 3, 4, 5]),
      )
    return 0
  },
})

function describe(tensor: Tensor, nested: boolean): object {
  const { dtype, sizes: shape, data } = tensor
  return { dtype, shape, data: nested ? nest(data as Float32Array, shape) : data }
}

/** Row-major data as lists in lists. */
function nest(data: Float32Array, shape: readonly number[]): unknown {
  const [size, ...inner] = shape
  if (size === undefined) return data[0]
  if (inner.length === 0) return data
  const step = data.length / size
  return Array.from({ length: size }, (_, i) => nest(data.subarray(i * step, (i + 1) * step), inner))
}

const columns = ['shape', 'mean', 'std', 'min', 'max', 'first values']

function summarise({ sizes, data }: Tensor): string[] {
  // Scores that causality hides are -Infinity: they say nothing of the rest.
  const values = Array.from(data as Float32Array).filter(Number.isFinite)
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const first = Array.from((data as Float32Array).subarray(0, 4), short).join(' ')
  return [`[${sizes.join(', ')}]`, ...[mean, Math.sqrt(variance), least, most].map(short), `${first} ...`]
}

/** What the model is, and its sites with the meaning of their axes. */
function listSites(name: string, { family, spec, params, tokenizer }: LoadedModel, json: boolean): void {
  const known = [...sites(spec)].map(([site, legend]) => ({ site, shape: legend.split(' ') }))
  const parameters = leaves(params).reduce((sum, [, { sizes }]) => sum + sizes.reduce((a, b) => a * b, 1), 0)
  const { layers, width, vocab, context } = spec
  if (json) {
    printJson({
      family,
      parameters,
      layers,
      width,
      vocab,
      context,
      tokenizer: tokenizer !== undefined,
      sites: known,
    })
    return
  }
  print(
    `${name}: ${family}, ${parameters.toLocaleString('en-US')} parameters, ${layers} layers of width ${width}, `,
  )
  const bound = Number.isFinite(context) ? context : 'without a bound'
  print(`vocabulary ${vocab}, context ${bound}${tokenizer ? '' : ', no tokenizer'}\n\n`)
  // One line for all layers.
  const shown = known.flatMap(({ site, shape }) => {
    const [, layer, rest] = /^blocks\.(\d+)\.(.*)$/.exec(site) ?? []
    if (rest === undefined) return [[site, shape.join(' ')]]
    return layer === '0' ? [[`blocks.N.${rest}`, shape.join(' ')]] : []
  })
  print(table(shown))
  print(
    dim(
      `\nN: 0 to ${layers - 1}. Read one with: glossa inspect -m ${name} -p TEXT --tap blocks.0.hook_resid_post\n`,
    ),
  )
}
