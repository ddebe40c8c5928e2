/** A vector of a text from a model that was not made for any. */
import type { Model } from '../model/index.ts'

/** The mean over all positions of a decoder's last states, of length 1: [width]. */
export async function meanState(model: Model, ids: readonly number[]): Promise<Float32Array> {
  const site =
    model.spec.norm.place === 'sum'
      ? `blocks.${model.spec.layers - 1}.hook_resid_post`
      : 'ln_final.hook_normalized'
  const reads = await model.run([ids], { read: [site] })
  const data = (await reads[site]!.load()) as Float32Array
  const { width } = model.spec
  const mean = new Float32Array(width)
  for (let i = 0; i < data.length; i++) mean[i % width]! += data[i]! / ids.length
  reads[site]!.dispose()
  const length = Math.hypot(...mean)
  return length === 0 ? mean : mean.map((x) => x / length)
}
