/** Features of sparse autoencoders: searched by what they are said to be, and looked at in texts. */
import * as z from 'zod'
import { promptTokens } from '../../decode/index.ts'
import { searchExplanations } from '../../interp/sae/explain/explanations.ts'
import { logitEffects } from '../../interp/sae/logitEffects.ts'
import { encode, type Sae } from '../../interp/sae/sae.ts'
import { operation, withModel } from '../operation.ts'
import { pieces } from './text.ts'

export const features = operation({
  name: 'features',
  input: z.strictObject({
    sae: z.string(),
    search: z.string().default(''),
    count: z.int().positive().max(500).default(60),
  }),
  async run({ saes }, { sae: name, search, count }) {
    const { folder, sae, explanations: all } = await saes.open(name)
    const { config } = sae
    const found = searchExplanations(all, search)
    return {
      site: config.site,
      folder,
      total: config.dSae,
      densities: all.features.map(({ density }) => density),
      found: found.length,
      features: found.slice(0, count).map(({ feature, density, explanation, scores, top }) => ({
        ...{ feature, density, explanation: explanation ?? null, detection: scores?.detection ?? null },
        contexts: top,
      })),
    }
  },
})

export const feature = operation({
  name: 'feature',
  input: z.strictObject({ model: z.string(), sae: z.string(), feature: z.int().nonnegative() }),
  run: (bench, { model: name, sae: saeName, feature: number }) =>
    withModel(bench, name, async ({ model }) => {
      const { sae, explanations } = await bench.saes.open(saeName)
      const [effects] =
        sae.config.dOut === model.spec.width ? await logitEffects(model, sae, [number], 10) : []
      const named = (list: readonly { token: number; logit: number }[]): object[] =>
        list.map(({ token, logit }) => ({ text: pieces(model, [token])[0]!, logit }))
      const own = explanations.features.find((one) => one.feature === number)
      return {
        ...own,
        feature: number,
        up: effects ? named(effects.up) : [],
        down: effects ? named(effects.down) : [],
      }
    }),
})

export const activations = operation({
  name: 'activations',
  input: z.strictObject({
    model: z.string(),
    sae: z.string(),
    text: z.string().min(1),
    count: z.int().positive().max(64).default(24),
  }),
  run: (bench, { model: name, sae: saeName, text, count }) =>
    withModel(bench, name, async ({ model }) => {
      const { sae, explanations } = await bench.saes.open(saeName)
      const { site } = sae.config
      if (!site) throw new Error(`the SAE '${saeName}' does not say where it reads`)
      const ids = promptTokens(model, text).slice(0, 128)
      const reads = await model.run([ids], { read: [site] })
      using program = model.engine.jit(
        (params: Sae['params'], x: (typeof reads)[string]) => encode({ ...sae, params }, x),
        {
          name: 'features',
          axes: [undefined, [null, 'time', null]],
        },
      )
      const data = (await (await program(sae.params, reads[site]!)).load()) as Float32Array
      const { dSae } = sae.config
      const said = new Map(explanations.features.map((one) => [one.feature, one.explanation]))
      const largest = Array.from({ length: dSae }, (_, i) => {
        // The first token of a text has a state of its own kind, which would hide all others.
        let best = 0
        for (let t = 1; t < ids.length; t++) best = Math.max(best, data[t * dSae + i]!)
        return best
      })
      const order = largest.map((_, i) => i).sort((a, b) => largest[b]! - largest[a]!)
      return {
        tokens: pieces(model, ids),
        features: order
          .filter((i) => largest[i]! > 0)
          .slice(0, count)
          .map((i) => ({
            feature: i,
            explanation: said.get(i) ?? null,
            values: ids.map((_, t) => Math.round(1000 * data[t * dSae + i]!) / 1000),
          })),
      }
    }),
})
