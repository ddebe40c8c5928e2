/** Activations that a request asks for: of sites, or as features of the SAEs that the server was given. */

import type { Tensor } from '../../array/index.ts'
import { encode, type Sae } from '../../interp/index.ts'
import { readSae } from '../../interp/sae/files/index.ts'
import { flattened } from '../../interp/sae/sae.ts'
import type { Edits, Model } from '../../model/index.ts'
import { sites } from '../../model/index.ts'
import { invalid } from '../errors.ts'
import type { FeatureValues, SiteValues, TapRequest } from './types.ts'

type Read = (tokens: readonly number[], edit: Edits) => Promise<(SiteValues | FeatureValues)[]>

/** Numbers of activations that go back with one answer. */
const most = 2 ** 24

export class TapReader {
  readonly #folders: Readonly<Record<string, string>>
  readonly #saes = new Map<string, Sae>()

  constructor(folders: Readonly<Record<string, string>>) {
    this.#folders = folders
  }

  /** What reads them, or undefined where none are wanted. Throws for sites and SAEs that there are not. */
  check(model: Model, requests: readonly TapRequest[]): Read | undefined {
    if (requests.length === 0) return undefined
    const known = sites(model.spec)
    const wanted = requests.map((request) => {
      if (typeof request === 'string') return { site: request, sae: undefined, name: '', top: 0 }
      const sae = this.#sae(request.sae)
      return { site: sae.config.site ?? '', sae, name: request.sae, top: request.top }
    })
    for (const { site } of wanted)
      if (!known.has(site))
        throw invalid(`glossa.taps: there is no site '${site}'; glossa inspect lists those of a model`)
    const read = [...new Set(wanted.map(({ site }) => site))]
    return async (tokens, edit) => {
      const reads = await model.run([tokens], { read, edit })
      const found: (SiteValues | FeatureValues)[] = []
      let count = 0
      for (const { site, sae, name, top } of wanted) {
        const activation = reads[site]!
        if (sae) {
          found.push({ sae: name, site, features: await featuresOf(model, sae, activation, top) })
          continue
        }
        const data = ((await activation.load()) as Float32Array).slice()
        count += data.length
        if (count > most)
          throw invalid(`glossa.taps: more than ${most} numbers; ask for fewer sites or a shorter text`)
        found.push({ site, shape: activation.sizes.slice(1), data })
      }
      return found
    }
  }

  #sae(name: string): Sae {
    const known = this.#saes.get(name)
    if (known) return known
    const folder = Object.hasOwn(this.#folders, name) ? this.#folders[name] : undefined
    if (folder === undefined) {
      const names = Object.keys(this.#folders)
      throw invalid(
        `glossa.taps: there is no SAE '${name}'; ${names.length > 0 ? `there are: ${names.join(', ')}` : 'start the server with --sae NAME=FOLDER'}`,
      )
    }
    const { sae } = readSae(folder)
    this.#saes.set(name, sae)
    return sae
  }
}

/** The most active features of each token. */
async function featuresOf(
  model: Model,
  sae: Sae,
  activation: Tensor,
  top: number,
): Promise<FeatureValues['features']> {
  const count = Math.min(top, sae.config.dSae)
  using program = model.engine.jit(
    (params: Sae['params'], x: Tensor) =>
      encode({ ...sae, params }, flattened(x, sae.config.dIn)).topK(count),
    { name: 'features', axes: [undefined, [null, 'time']] },
  )
  const { values, indices } = await program(sae.params, activation)
  const [activations, features] = [(await values.load()) as Float32Array, await indices.load()]
  return Array.from({ length: activations.length / count }, (_, token) =>
    Array.from({ length: count }, (_, i) => ({
      feature: Number(features[token * count + i]),
      activation: activations[token * count + i]!,
    })).filter((one) => one.activation > 0),
  )
}
