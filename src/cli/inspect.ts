/** `glossa inspect`: what the model computes on the way, at named sites. */
import * as z from 'zod'
import type { Tensor } from '../array/index.ts'
import { Seq2Seq } from '../model/index.ts'
import { type About, aboutModel } from './about.ts'
import { encode, exactlyOne, jsonOption, modelFlags, modelOptions, openAny, tokensOption } from './common.ts'
import { locateModel } from './hub.ts'
import { dim, print, printJson, short, table } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'inspect',
  summary: 'Look at activations; without --tap, list where',
  options: z.strictObject({
    ...modelOptions.shape,
    prompt: z.string().optional().describe('The text that the model reads'),
    tokens: tokensOption,
    target: z.string().optional().describe('The text on the other side of an encoder-decoder'),
    targetTokens: tokensOption.describe('Its token ids instead'),
    tap: z
      .array(z.string().min(1))
      .optional()
      .describe('A site to read, such as blocks.0.hook_resid_post or logits'),
    nested: z.boolean().default(false).describe('JSON data as nested lists instead of one, row by row'),
    json: jsonOption,
  }),
  flags: { ...modelFlags, prompt: { short: 'p' }, tap: { value: 'SITE' } },
  notes: `JSON: { site, dtype, shape, tokens, data }, a list of these for several taps; attention scores that causality
hides are -Infinity, which JSON writes as null. Of an encoder-decoder also 'targets', which begin with its start token
and, without --target or --target-tokens, end there.`,
  async run({ prompt, tokens, target, targetTokens, tap, nested, json, ...settings }) {
    if (!tap) {
      listSites(settings.model, aboutModel(await locateModel(settings.model)), json)
      return 0
    }
    exactlyOne({ '-p': prompt, '--tokens': tokens })
    if (target !== undefined && targetTokens)
      throw new UsageError('--target and --target-tokens exclude each other')
    await using opened = await openAny(settings)
    const { model } = opened
    const ids = prompt === undefined ? tokens! : encode(model, prompt)
    const targets =
      model instanceof Seq2Seq ? [model.spec.start, ...(targetTokens ?? textIds(model, target))] : undefined
    if (!targets && (target !== undefined || targetTokens))
      throw new UsageError(
        `--target${targetTokens ? '-tokens' : ''} is for encoder-decoders; ${settings.model} is none`,
      )
    const reads = await (model instanceof Seq2Seq
      ? model.run([ids], [targets!], { read: tap })
      : model.run([ids], { read: tap }))
    if (json) {
      const about = { tokens: ids, ...(targets && { targets }) }
      const results = tap.map((site) => ({ site, ...describe(reads[site]!, nested), ...about }))
      printJson(results.length === 1 ? results[0] : results)
    } else
      print(
        table([['site', ...columns], ...tap.map((site) => [site, ...summarise(reads[site]!)])], [2, 3, 4, 5]),
      )
    return 0
  },
})

/** The tokens of a target, without the one that ends it. */
function textIds({ tokenizer, path }: Seq2Seq, text: string | undefined): number[] {
  if (text === undefined) return []
  if (!tokenizer) throw new Error(`${path} has no tokenizer: give --target-tokens, for example 3,17,42`)
  return tokenizer.encode(text, { addSpecialTokens: false }).ids
}

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
function listSites(name: string, { sites, ...about }: About, json: boolean): void {
  const known = [...sites].map(([site, legend]) => ({ site, shape: legend.split(' ') }))
  if (json) {
    printJson({ ...about, sites: known })
    return
  }
  const { family, kind, parameters, layers, width, vocab, context, tokenizer } = about
  const deep =
    typeof layers === 'number' ? `${layers} layers` : `${layers.encoder} and ${layers.decoder} layers`
  print(
    `${name}: ${family} (${kind}), ${parameters.toLocaleString('en-US')} parameters, ${deep} of width ${width}, `,
  )
  const bound = Number.isFinite(context) ? `${context}` : 'without a bound'
  print(
    `vocabulary ${vocab}${context === null ? '' : `, context ${bound}`}${tokenizer ? '' : ', no tokenizer'}\n\n`,
  )
  // One line for all layers.
  const shown = known.flatMap(({ site, shape }) => {
    const [, side, layer, rest] = /^(.*\bblocks)\.(\d+)\.(.*)$/.exec(site) ?? []
    if (rest === undefined) return [[site, shape.join(' ')]]
    return layer === '0' ? [[`${side}.N.${rest}`, shape.join(' ')]] : []
  })
  print(table(shown))
  const range =
    typeof layers === 'number'
      ? `0 to ${layers - 1}`
      : `0 to ${layers.encoder - 1} of the encoder, 0 to ${layers.decoder - 1} of the decoder`
  const example = known.find(({ site }) => site.endsWith('blocks.0.hook_resid_post'))!.site
  print(dim(`\nN: ${range}. Read one with: glossa inspect -m ${name} -p TEXT --tap ${example}\n`))
}
