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
  /** Compiled for a model, by SAE and count. */
  readonly #programs = new WeakMap<Model, Map<string, FeatureProgram>>()

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
          found.push({
            sae: name,
            site,
            features: await featuresOf(this.#program(model, sae, name, top), sae, activation),
          })
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

  #program(model: Model, sae: Sae, name: string, top: number): FeatureProgram {
    const count = Math.min(top, sae.config.dSae)
    const programs = this.#programs.get(model) ?? new Map<string, FeatureProgram>()
    this.#programs.set(model, programs)
    const key = `${name} ${count}`
    const known = programs.get(key)
    if (known) return known
    const made: FeatureProgram = model.engine.jit(
      (params: Sae['params'], x: Tensor) =>
        encode({ ...sae, params }, flattened(x, sae.config.dIn)).topK(count),
      { name: 'features', axes: [undefined, [null, 'time', null]] },
    )
    programs.set(key, made)
    return made
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

type FeatureProgram = (params: Sae['params'], x: Tensor) => Promise<{ values: Tensor; indices: Tensor }>

/** The most active features of each token, most active first. */
async function featuresOf(
  program: FeatureProgram,
  sae: Sae,
  activation: Tensor,
): Promise<FeatureValues['features']> {
  const { values, indices } = await program(sae.params, activation)
  const [activations, features] = [(await values.load()) as Float32Array, await indices.load()]
  const count = values.sizes.at(-1)!
  const found = Array.from({ length: activations.length / count }, (_, token) =>
    Array.from({ length: count }, (_, i) => ({
      feature: Number(features[token * count + i]),
      activation: activations[token * count + i]!,
    })).filter((one) => one.activation > 0),
  )
  values.dispose()
  indices.dispose()
  return found
}
