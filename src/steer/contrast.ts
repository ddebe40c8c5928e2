/**
 * Control vectors learned and applied: a direction for each layer, added to what it writes. Contrastive activation addition (Rimsky et al.
 * 2024, https://arxiv.org/abs/2312.06681) takes the difference of means, representation engineering (Zou et al. 2023,
 * https://arxiv.org/abs/2310.01405) and repeng the first principal component of the differences.
 *
 *   h[l] <- h[l] + strength · v[l]          h[l]: blocks.l.hook_resid_post [batch, T, width], all positions
 *   mean   v[l] = mean of positive states − mean of negative states
 *   pca    v[l] = first principal component of the paired differences, centred, of length 1, turned so that most
 *          positive states lie further along it than their negative partner
 *
 * A state of a text is that of its last token (as repeng), or the mean over its tokens. Files are llama.cpp's
 * (`controlVectorFile.ts`). Differs from repeng: `mean` is the default; its length is that of the difference, so that
 * strength 1 moves a negative state's mean onto the positive one's.
 */
import { tensor } from '../array/index.ts'
import type { Edits, Model } from '../model/index.ts'
import { firstComponent, meanOf } from './components.ts'
import { type StateOptions, statesOf } from './states.ts'
import { alongDirection, chosenLayers } from './steer.ts'

export interface ControlVector {
  /** By layer, f32 [width]. */
  readonly directions: ReadonlyMap<number, Float32Array>
  /** What it was made for, for people: the model's architecture or path. */
  readonly modelHint: string
}

export interface ControlVectorOptions extends StateOptions {
  readonly kind?: 'mean' | 'pca'
  /** All but the first by default, which llama.cpp cannot steer. */
  readonly layers?: readonly number[]
}

/** Learns a vector from texts of two kinds. `pca` needs pairs: as many of the one as of the other, in one order. */
export async function fitControlVector(
  model: Model,
  { positive, negative }: { readonly positive: readonly string[]; readonly negative: readonly string[] },
  { kind = 'mean', layers, ...options }: ControlVectorOptions = {},
): Promise<ControlVector> {
  if (positive.length === 0 || negative.length === 0)
    throw new Error('a control vector needs texts of both kinds')
  if (kind === 'pca' && positive.length !== negative.length)
    throw new Error(
      `pca needs pairs: there are ${positive.length} positive and ${negative.length} negative texts; kind mean does not`,
    )
  if (kind === 'pca' && positive.length < 3)
    throw new Error(`pca of ${positive.length} pairs: it needs three`)
  const all = Array.from({ length: model.spec.layers }, (_, layer) => layer)
  const chosen = chosenLayers(layers, all).filter(
    (layer) => layers !== undefined || layer > 0 || all.length === 1,
  )
  const sites = chosen.map((layer) => `blocks.${layer}.hook_resid_post`)
  const total = positive.length + negative.length
  const counted = (before: number): StateOptions => ({
    ...options,
    ...(options.onProgress && { onProgress: (done: number) => options.onProgress!(before + done, total) }),
  })
  const ours = await statesOf(model, positive, sites, counted(0))
  const theirs = await statesOf(model, negative, sites, counted(positive.length))
  const directions = new Map<number, Float32Array>()
  for (const [i, layer] of chosen.entries()) {
    const [a, b] = [ours.get(sites[i]!)!, theirs.get(sites[i]!)!]
    directions.set(layer, kind === 'mean' ? differenceOfMeans(a, b) : differenceComponent(a, b))
  }
  return { directions, modelHint: model.path.replace(/^.*[/\\]/, '') }
}

/** The mean of some rows less that of others. */
export function differenceOfMeans(a: readonly Float32Array[], b: readonly Float32Array[]): Float32Array {
  const [ours, theirs] = [meanOf(a), meanOf(b)]
  return Float32Array.from(ours, (x, i) => x - theirs[i]!)
}

/** The first principal component of the differences of pairs, turned towards the first ones. */
export function differenceComponent(a: readonly Float32Array[], b: readonly Float32Array[]): Float32Array {
  const differences = a.map((row, i) => row.map((x, j) => x - b[i]![j]!))
  const direction = firstComponent(differences)
  const along = differences.map((row) => row.reduce((sum, x, j) => sum + x * direction[j]!, 0))
  const [more, less] = [along.filter((x) => x > 0).length, along.filter((x) => x < 0).length]
  return less > more ? direction.map((x) => -x) : direction
}

/** The edits that add it. */
export function controlVectorEdits(
  { directions }: ControlVector,
  strength: number,
  layers?: readonly number[],
): Edits {
  return Object.fromEntries(
    chosenLayers(layers, [...directions.keys()]).map((layer) => [
      `blocks.${layer}.hook_resid_post`,
      alongDirection(tensor(directions.get(layer)!), strength),
    ]),
  )
}
