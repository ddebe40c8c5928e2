/** What the actions of `glossa sae` share. */

import { ActivationSource, foldScale, normScale, type Sae, sampleOf } from '../../interp/index.ts'
import { readSae } from '../../interp/sae/files/index.ts'
import { openSaeText, type SaeText } from '../../interp/sae/train.ts'
import { Model } from '../../model/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { locateModel } from '../hub.ts'
import type { SaeFlags } from '../sae.ts'
import { note, printable, status } from '../terminal.ts'

export type Looking = SaeFlags & {
  readonly model: string
  readonly sae: readonly string[]
  readonly file: readonly string[]
}

export const newEngine = ({ device, threads }: Pick<SaeFlags, 'device' | 'threads'>): Engine =>
  new Engine(nodeRuntime({ provider: device, ...(threads !== undefined && { threads }) }))

/** Texts as SAEs are trained on them: special tokens left out, windows begun as the tokenizer begins texts. */
export function openText(model: Model, files: readonly string[], heldOut: number): Promise<SaeText> {
  const [first, ...more] = files.map((file) => ({ file }))
  const data = { files: [first!, ...more] as [{ file: string }], heldOut, seed: 1 }
  return openSaeText(model, { data, begin: true, exclude: 'special' }, (path) => path, status)
}

export const openOpen = async (engine: Engine, name: string): Promise<Model> =>
  Model.open(await locateModel(name), engine)

/** An SAE for a model; a factor that its files do not say is measured on the text. */
export async function openSae(folder: string, model: Model, text: SaeText, quiet: boolean): Promise<Sae> {
  const { sae, ignored } = readSae(folder)
  if (ignored.length > 0 && !quiet)
    note(
      `${folder}: an old configuration; of no use here: ${ignored.slice(0, 8).join(', ')}${ignored.length > 8 ? ' ...' : ''}`,
    )
  if (sae.config.normalize !== 'expected_average_only_in') return sae
  const { site } = sae.config
  if (site === undefined) throw new Error(`${folder} does not say where it belongs`)
  const source = new ActivationSource({
    ...{ model, tokens: text.heldOut, sites: [site], length: Math.min(128, model.context) },
    ...{ begin: text.begin, exclude: text.exclude },
  })
  const sample = await sampleOf(source, 16384)
  const scale = normScale(sample.rows[site]!, sample.count)
  if (!quiet)
    note(`${folder}: takes activations of mean norm √width; measured here: times ${scale.toPrecision(4)}`)
  return foldScale(sae, scale)
}

/** The pieces of text that tokens add, for people. */
export function pieces(model: Model, tokens: readonly number[]): string[] {
  const stream = model.tokenizer!.stream()
  const parts = tokens.map((id) => stream.push(id))
  const rest = stream.flush()
  if (rest && parts.length > 0) parts[parts.length - 1] += rest
  return parts.map((part) => printable(part.replace(/\n/g, '⏎')))
}
