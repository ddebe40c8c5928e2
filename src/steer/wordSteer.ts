/**
 * LM-Steer (Han et al. 2024, "Word Embeddings Are Steers for Language Models", https://arxiv.org/abs/2305.12798): a
 * linear change of the output embeddings, learned for a style.
 *
 *   logits = hᵀ (I + ε Σ_k v_k W_k) E,   W_k = P1_k P2_kᵀ      h: ln_final.hook_normalized [batch, T, width]
 *
 * which is the edit h + ε Σ_k v_k (h P1_k) P2_kᵀ. P1, P2 [steers, width, rank]; v_k is the value of steer k: learned at
 * +1 on texts of the style and −1 on the others. Steers add up, and scale with their value.
 *
 * As in the authors' code (github.com/Glaciohound/LM-Steer): ε 0.001, both factors start as 0.01 N(0, 1), and a second
 * steer, whose value is always 1, learns what texts of both kinds have in common (`domain` here, `dummy_steer` there).
 * Differs: padding is no target; the domain steer is left out when generating unless it is asked for.
 */
import { concat, crossEntropy, random, type Tensor, tensor } from '../array/index.ts'
import { forward } from '../model/decoder.ts'
import type { Edits, EditWithArguments } from '../model/index.ts'
import { rotaryTables } from '../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../model/spec.ts'
import { Taps } from '../model/taps.ts'
import type { Objective } from '../train/index.ts'
import { counted } from '../train/objectives/reading.ts'

export const steerSite = 'ln_final.hook_normalized'

/** What is trained: [steers, width, rank] each. */
export interface Projectors {
  readonly projector1: Tensor
  readonly projector2: Tensor
}

export interface WordSteer extends Projectors {
  /** One for each steer. `domain` is the one that both kinds of texts have in common. */
  readonly names: readonly string[]
  readonly epsilon: number
  /** What it was made for, for people. */
  readonly modelHint: string
}

interface Folded {
  /** [width, steers · rank] */
  readonly down: Tensor
  readonly up: Tensor
  /** ε v_k for each column, [steers · rank], or [batch, 1, steers · rank]. */
  readonly factors: Tensor
}

const turned = (x: Tensor, { down, up, factors }: Folded): Tensor =>
  x.add(x.matmul(down).mul(factors).matmul(up, { transposeB: true }))

/** [steers, width, rank] side by side: [width, steers · rank]. */
const sideBySide = (projector: Tensor): Tensor => {
  const [steers, width, rank] = projector.shape as [number, number, number]
  return projector.transpose([1, 0, 2]).reshape([width, steers * rank])
}

/** As a program takes it, with values [steers], or one for each row: [batch, steers]. */
function folded({ projector1, projector2 }: Projectors, values: Tensor, epsilon: number): Folded {
  const [steers, , rank] = projector1.shape as [number, number, number]
  const each = values.mul(epsilon).expandDims(-1)
  const spread = each.broadcastTo([...values.shape, rank])
  const factors =
    values.rank === 1 ? spread.reshape([steers * rank]) : spread.reshape([values.shape[0]!, 1, steers * rank])
  return { down: sideBySide(projector1), up: sideBySide(projector2), factors }
}

export interface NewSteerOptions {
  /** Of each matrix; as many as the model is wide by default, up to 64. */
  readonly rank?: number
  readonly epsilon?: number
  /** Deviation of the factors at the start. */
  readonly deviation?: number
  /** Whether to learn a `domain` steer beside the style. */
  readonly domain?: boolean
  readonly seed?: number
}

/** A steer as training begins: next to nothing. */
export function newWordSteer(
  { width }: Pick<DecoderSpec, 'width'>,
  {
    rank = Math.min(width, 64),
    epsilon = 1e-3,
    deviation = 1e-2,
    domain = true,
    seed = 0,
  }: NewSteerOptions = {},
  modelHint = '',
): WordSteer {
  const names = domain ? ['style', 'domain'] : ['style']
  const gaussian = random.gaussian(seed)
  const draw = (): Tensor =>
    tensor(
      Float32Array.from({ length: names.length * width * rank }, () => deviation * gaussian()),
      [names.length, width, rank],
    )
  return { projector1: draw(), projector2: draw(), names, epsilon, modelHint }
}

/** A model that stays as it is, and the steer that is trained. */
export interface SteeredParts {
  readonly model: DecoderParams
  readonly steer: Projectors
}

export interface StanceBatch {
  /** i32 [batch, T] */
  readonly tokens: Tensor
  /** f32 [batch, T]: 1 for the tokens to learn. */
  readonly mask?: Tensor | undefined
  /** f32 [batch]: +1 for the style, −1 against it, or between them. */
  readonly labels: Tensor
}

/** −log p of the tokens under steers whose values are the row's label and 1, and `regularization` · Σ P². */
export function stanceLoss(
  spec: DecoderSpec,
  { epsilon, names }: Pick<WordSteer, 'epsilon' | 'names'>,
  regularization = 0,
): Objective<SteeredParts, StanceBatch> {
  const rotary = rotaryTables(spec)
  return {
    id: 'lm-steer',
    axes: { tokens: ['batch', 'time'], mask: ['batch', 'time'], labels: ['batch'] },
    loss({ model, steer }, { tokens, mask, labels }) {
      const stance = labels.expandDims(-1)
      const values = concat(
        names.map((name) => (name === 'domain' ? stance.mul(0).add(1) : stance)) as [Tensor, ...Tensor[]],
        -1,
      )
      const taps = new Taps(spec, {
        edit: { [steerSite]: { apply: turned, args: folded(steer, values, epsilon) } },
      })
      // The last token is only ever a target.
      const { logits } = forward(spec, model, { tokens: tokens.slice(1, 0, -1) }, rotary, taps)
      const { sum, weight } = counted(crossEntropy(logits, tokens.slice(1, 1)), mask?.slice(1, 1))
      const squares = steer.projector1.pow(2).sum().add(steer.projector2.pow(2).sum())
      return { sum: regularization === 0 ? sum : sum.add(weight.mul(squares.mul(regularization))), weight }
    },
  }
}

/** What a trainer needs of a steer over a model. */
export const overModel = (model: DecoderParams, { projector1, projector2 }: Projectors) => ({
  params: { projector1, projector2 } as Projectors,
  frozen: model,
  assemble: (steer: Projectors, frozen: DecoderParams): SteeredParts => ({ model: frozen, steer }),
})

/** The edit with a value for each steer; another value compiles nothing. Needs its tensors in memory. */
export function wordSteerEdits(steer: WordSteer, values: readonly number[]): Edits {
  const [steers, width, rank] = steer.projector1.sizes as [number, number, number]
  if (values.length !== steers) throw new Error(`${values.length} values for ${steers} steers`)
  const wrong = values.find((value) => !Number.isFinite(value))
  if (wrong !== undefined) throw new RangeError(`a strength is a finite number, not ${wrong}`)
  const beside = (projector: Tensor): Tensor => {
    const from = projector.data as Float32Array
    const data = new Float32Array(from.length)
    for (let k = 0; k < steers; k++)
      for (let i = 0; i < width; i++)
        for (let r = 0; r < rank; r++) data[(i * steers + k) * rank + r] = from[(k * width + i) * rank + r]!
    return tensor(data, [width, steers * rank])
  }
  const factors = tensor(
    Float32Array.from({ length: steers * rank }, (_, i) => steer.epsilon * values[Math.floor(i / rank)]!),
  )
  const args: Folded = { down: beside(steer.projector1), up: beside(steer.projector2), factors }
  const edit: EditWithArguments<Folded> = { apply: turned, args }
  return { [steerSite]: edit }
}

/** Steers of one model as one, which adds their changes. (Two edits in turn also have a product of both.) */
export function joinSteers(steers: readonly [WordSteer, ...WordSteer[]]): WordSteer {
  const [, width] = steers[0].projector1.sizes as [number, number, number]
  const rank = Math.max(...steers.map(({ projector1 }) => projector1.sizes[2]!))
  const total = steers.reduce((sum, { names }) => sum + names.length, 0)
  const { epsilon, modelHint } = steers[0]
  /** Filled up to the largest rank with zeros. */
  const stack = (name: keyof Projectors): Tensor => {
    const data = new Float32Array(total * width * rank)
    let at = 0
    for (const steer of steers) {
      const [count, own, columns] = steer[name].sizes as [number, number, number]
      if (own !== width) throw new Error(`steers of widths ${width} and ${own} are of different models`)
      const from = steer[name].data as Float32Array
      // ε of each goes into one of its factors.
      const scale = name === 'projector1' ? steer.epsilon / epsilon : 1
      for (let row = 0; row < count * width; row++, at++)
        for (let r = 0; r < columns; r++) data[at * rank + r] = scale * from[row * columns + r]!
    }
    return tensor(data, [total, width, rank])
  }
  const names = steers.flatMap((steer) => steer.names)
  return { projector1: stack('projector1'), projector2: stack('projector2'), names, epsilon, modelHint }
}
