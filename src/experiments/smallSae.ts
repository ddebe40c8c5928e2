/** Small sparse autoencoders for experiments: rows of activations computed once, SAEs trained on them, many from the same. */
import { random, type Tensor, tensor } from '../array/index.ts'
import { foldScale, makeArchitecture, type Sae, saeObjective, unitNormDecoder } from '../interp/sae/index.ts'
import type { Model } from '../model/index.ts'
import { adamw, makeSchedule, Trainer, wholly } from '../train/index.ts'
import type { ExperimentContext } from './experiment.ts'

/** What a model has at a site for every token of rows of one length, heads side by side: [rows × T, width]. */
export async function activationsOf(
  model: Model,
  site: string,
  rows: readonly (readonly number[])[],
): Promise<Float32Array> {
  let all: Float32Array | undefined
  let at = 0
  for (let from = 0; from < rows.length; from += 32) {
    const read = (await model.run(rows.slice(from, from + 32), { read: [site] }))[site]!
    const part = (await read.load()) as Float32Array
    all ??= new Float32Array((part.length / Math.min(32, rows.length)) * rows.length)
    all.set(part, at)
    at += part.length
    read.dispose()
  }
  if (!all) throw new Error('there are no rows to take activations of')
  return all
}

/** Activations of two kinds of texts at a site, and what tells them apart on average. */
export interface Contrast {
  readonly site: string
  readonly width: number
  /** [count, width]: those of the first kind, then as many of the second. */
  readonly rows: Float32Array
  /** Mean of the first less that of the second, in the shape of the site's last axes. */
  readonly difference: Tensor
}

/** The same number of texts of each kind, all of one length. */
export async function contrastAt(
  model: Model,
  site: string,
  first: readonly (readonly number[])[],
  second: readonly (readonly number[])[],
): Promise<Contrast> {
  const texts = [...first, ...second]
  const rows = await activationsOf(model, site, texts)
  const width = rows.length / (texts.length * texts[0]!.length)
  const half = rows.length / 2
  const difference = new Float32Array(width)
  for (let i = 0; i < rows.length; i++)
    difference[i % width]! += ((i < half ? 1 : -1) * rows[i]! * width) / half
  const { heads, headSize } = model.spec.attention!
  const shape = site.endsWith('hook_q') ? [heads, headSize] : [width]
  return { site, width, rows, difference: tensor(difference, shape) }
}

export interface SmallSaeOptions {
  readonly site: string
  /** [count, width] */
  readonly rows: Float32Array
  /** Of each row, for an architecture that is told of a concept. */
  readonly labels?: Float32Array
  readonly width: number
  readonly architecture: { readonly kind: string; readonly [option: string]: unknown }
  /** Features, as a multiple of the width. */
  readonly expansion: number
  readonly steps: number
  readonly batch: number
  readonly rate: number
  readonly seed: number
}

export interface SmallSae {
  readonly sae: Sae
  /** Share of the variance that it reconstructs, in the last tenth of its batches. */
  readonly explained: number
}

/** Trains one SAE; rows are drawn with the seed. Activations are scaled to a mean norm of √width. */
export async function trainSae(
  { engine, signal }: Pick<ExperimentContext, 'engine' | 'signal'>,
  { site, rows, labels, width, architecture: recipe, expansion, steps, batch, rate, seed }: SmallSaeOptions,
): Promise<SmallSae> {
  const chosen = makeArchitecture(recipe)
  const { architecture, options } = chosen
  const count = rows.length / width
  const squares = rows.reduce((sum, x) => sum + x * x, 0) / count
  const scale = Math.sqrt(width / squares)
  const sizes = { dIn: width, dOut: width, dSae: expansion * width, transcoder: false }
  const sampled = Math.min(count, 2048)
  const start = {
    count: sampled,
    y: rows.subarray(0, sampled * width).map((x) => x * scale),
  }
  const factor = makeSchedule({
    kind: 'wsd',
    warmup: Math.ceil(steps / 20),
    decay: Math.ceil(steps / 3),
    steps,
    shape: 'linear',
  })
  const optimizer = adamw({ weightDecay: 0 })
  using trainer = new Trainer({
    engine,
    model: wholly(architecture.init(sizes, options, start, seed)),
    objective: saeObjective(chosen, { sizes, steps, deadAfter: Math.ceil((steps * batch) / 10) }),
    batches: {
      at(step: number) {
        const uniform = random.generator(random.fold(seed, step))
        const x = new Float32Array(batch * width)
        const told = new Float32Array(batch)
        for (let i = 0; i < batch; i++) {
          const row = Math.floor(uniform() * count)
          for (let j = 0; j < width; j++) x[i * width + j] = rows[row * width + j]! * scale
          told[i] = labels?.[row] ?? 0
        }
        return { x: tensor(x, [batch, width]), ...(labels && { labels: tensor(told) }) }
      },
    },
    optimizer: architecture.unitNorm(options) ? unitNormDecoder(optimizer) : optimizer,
    rate: (step) => rate * factor(step),
    clip: 1,
    seed,
  })
  let explained = 0
  const last = Math.ceil(steps / 10)
  while (trainer.step < steps) {
    signal?.throwIfAborted()
    const { metrics } = await trainer.next()
    if (trainer.step > steps - last) explained += metrics.explained_variance! / last
  }
  const params = Object.fromEntries(
    Object.entries(trainer.params).map(([name, leaf]) => [
      name,
      tensor((leaf.data as Float32Array).slice(), leaf.sizes),
    ]),
  )
  const made = foldScale(architecture.finish(params, {}, sizes, options), scale)
  return { sae: { ...made, config: { ...made.config, site } }, explained }
}
