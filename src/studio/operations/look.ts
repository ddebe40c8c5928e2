/** Inside a model: the lens, attention, any activation, patching. */
import * as z from 'zod'
import { type Tensor, tensor } from '../../array/index.ts'
import { logSumExp, mostLikely, promptTokens } from '../../decode/index.ts'
import { LensReader, logitLens, patchGrid } from '../../interp/browser.ts'
import { operation, withModel } from '../operation.ts'
import { pieces } from './text.ts'

const text = z.string().min(1)
const most = 64

export const lens = operation({
  name: 'lens',
  input: z.strictObject({ model: z.string(), text }),
  run: (bench, { model: name, text: given }) =>
    withModel(bench, name, async ({ model }) => {
      const ids = promptTokens(model, given).slice(0, most)
      using reader = new LensReader(model, logitLens, { top: 5 })
      const reading = await reader.read([ids])
      const rows = Array.from({ length: reading.layers + 1 }, (_, blocks) =>
        ids.map((_, position) => {
          const { top, entropy, rank } = reading.cell(blocks, position)
          return {
            ...{ entropy, rank: rank ?? null },
            top: top.map(({ id, probability }) => ({ text: pieces(model, [id])[0]!, probability })),
          }
        }),
      )
      return { tokens: pieces(model, ids), rows }
    }),
})

export const attention = operation({
  name: 'attention',
  input: z.strictObject({ model: z.string(), text, layer: z.int().nonnegative() }),
  run: (bench, { model: name, text: given, layer }) =>
    withModel(bench, name, async ({ model }) => {
      const ids = promptTokens(model, given).slice(0, most)
      const site = `blocks.${layer}.attn.hook_pattern`
      const reads = await model.run([ids], { read: [site] })
      const pattern = reads[site]!
      const data = (await pattern.load()) as Float32Array
      const [, heads, rows, keys] = pattern.sizes as [number, number, number, number]
      const round = (x: number): number => Math.round(1000 * x) / 1000
      return {
        tokens: pieces(model, ids),
        heads: Array.from({ length: heads }, (_, head) =>
          Array.from({ length: rows }, (_, row) =>
            Array.from(data.subarray((head * rows + row) * keys, (head * rows + row + 1) * keys), round),
          ),
        ),
      }
    }),
})

export const tap = operation({
  name: 'tap',
  input: z.strictObject({ model: z.string(), text, site: z.string() }),
  run: (bench, { model: name, text: given, site }) =>
    withModel(bench, name, async ({ model }) => {
      const ids = promptTokens(model, given).slice(0, most)
      const reads = await model.run([ids], { read: [site] })
      const { sizes } = reads[site]!
      const data = (await reads[site]!.load()) as Float32Array
      // Positions down, everything else across.
      const shape = sizes.slice(1)
      if (shape[0] !== ids.length)
        throw new Error(
          `'${site}' is [${sizes.join(', ')}]: the page shows what has positions first; attention has its own view`,
        )
      const across = shape.slice(1).reduce((a, b) => a * b, 1)
      const values = ids.map((_, i) => Array.from(data.subarray(i * across, (i + 1) * across)))
      return {
        tokens: pieces(model, ids),
        shape,
        norms: values.map((row) => Math.hypot(...row)),
        values: values.map((row) => row.slice(0, 512).map((x) => Math.round(1000 * x) / 1000)),
      }
    }),
})

export const patch = operation({
  name: 'patch',
  input: z.strictObject({
    ...{ model: z.string(), clean: text, corrupt: text, answer: text, wrong: text },
    site: z.string().default('hook_resid_post'),
  }),
  run: (bench, { model: name, clean, corrupt, answer, wrong, site }, signal) =>
    withModel(bench, name, async ({ model }) => {
      const one = (given: string): number => {
        const ids = model.tokenizer!.encode(given, { addSpecialTokens: false }).ids
        if (ids.length !== 1)
          throw new Error(
            `'${given}' is ${ids.length} tokens, ${pieces(model, ids).join('|')}: give one, perhaps with a space before it`,
          )
        return ids[0]!
      }
      const prompts = {
        clean: promptTokens(model, clean),
        corrupt: promptTokens(model, corrupt),
        answer: one(answer),
        wrong: one(wrong),
      }
      if (prompts.clean.length !== prompts.corrupt.length)
        throw new Error(
          `the texts need as many tokens as each other: ${pieces(model, prompts.clean).join('|')} has ${prompts.clean.length}, ${pieces(model, prompts.corrupt).join('|')} has ${prompts.corrupt.length}`,
        )
      const by = /^attn\./.test(site) ? 'head' : 'position'
      const grid = await patchGrid(model, prompts, {
        site,
        by,
        direction: 'denoising',
        signal,
        onProgress: () => undefined,
      })
      const count = by === 'head' ? grid.heads : grid.positions
      return {
        by,
        columns:
          by === 'head' ? Array.from({ length: count }, (_, i) => `head ${i}`) : pieces(model, prompts.clean),
        layers: grid.layers,
        clean: grid.clean,
        corrupt: grid.corrupt,
        rows: grid.layers.map((_, i) =>
          grid.cells.slice(i * count, (i + 1) * count).map(({ restored }) => restored),
        ),
      }
    }),
})

/** What comes next after the clean text, after the corrupt one, and after that with one activation of the clean one. */
export const patchAt = operation({
  name: 'patchAt',
  input: z.strictObject({
    ...{ model: z.string(), clean: text, corrupt: text, site: z.string() },
    ...{ layer: z.int().nonnegative(), position: z.int().nonnegative() },
  }),
  run: (bench, { model: name, clean, corrupt, site, layer, position }) =>
    withModel(bench, name, async ({ model }) => {
      const [own, other] = [promptTokens(model, clean), promptTokens(model, corrupt)]
      const place = `blocks.${layer}.${site}`
      const reads = await model.run([own], { read: [place, 'logits'] })
      const plain = await model.run([other], { read: ['logits'] })
      using program = model.compile(
        'patchAt',
        [{ tokens: ['batch', 'time'], clean: [null, 'time', null], mask: ['batch', 'time', null] }],
        ({ forward }, given: { tokens: Tensor; clean: Tensor; mask: Tensor }) =>
          forward({ tokens: given.tokens }, { edit: { [place]: (x) => given.mask.where(given.clean, x) } })
            .logits,
      )
      const patched = await program({
        tokens: tensor(Int32Array.from(other), [1, other.length]),
        clean: reads[place]!,
        mask: tensor(
          Uint8Array.from(other, (_, i) => (i === position ? 1 : 0)),
          [1, other.length, 1],
          'bool',
        ),
      })
      const next = async (logits: Tensor): Promise<object[]> => {
        const { vocab } = model.spec
        const row = ((await logits.load()) as Float32Array).slice(-vocab)
        const total = logSumExp(row)
        return mostLikely(row, 5).map(({ token }) => ({
          text: pieces(model, [token])[0]!,
          probability: Math.exp(row[token]! - total),
        }))
      }
      return {
        clean: await next(reads.logits!),
        corrupt: await next(plain.logits!),
        patched: await next(patched),
      }
    }),
})
