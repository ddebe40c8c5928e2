/**
 * Direct logit attribution: what each part of the model writes into a logit without passing through later parts (Elhage
 * et al. 2021; Wang et al. 2022). The last stream is a sum of what embedding, heads and feed-forward parts wrote:
 *
 *   logit = Σ over parts c of u · norm(c) + bias
 *
 * u is the head's row of the token (or the difference of two rows), and norm the final norm with the scale that the sum
 * had: frozen, it is linear, so that the parts add up to the logit minus biases. Norms behind a part (Gemma 2) are frozen
 * in the same way. Logits are those before a soft cap. In a model with rounded weights the operators round activations too: there the
 * sum is as inexact as they are.
 */
import { type Tensor, tensor, vjp } from '../array/index.ts'
import { unembed } from '../model/decoder.ts'
import type { DecoderSpec, Model, Pass } from '../model/index.ts'
import { biasOf } from '../model/parts/linear.ts'
import { mixerOf, type Norm } from '../model/spec.ts'
import { loaded } from './streams.ts'

export interface AttributeOptions {
  /** The token whose logit is explained, at each position; the next token by default, and the likeliest at the end. */
  readonly targets?: readonly number[]
  /** Tokens whose logits are subtracted. */
  readonly against?: readonly number[]
}

export interface Contribution {
  readonly part: 'embedding' | 'positions' | 'head' | 'attention bias' | 'state space' | 'mlp'
  readonly layer?: number
  readonly head?: number
  /** To the logit, by position. */
  readonly values: Float32Array
}

export interface Attribution {
  readonly tokens: readonly number[]
  readonly targets: readonly number[]
  readonly against?: readonly number[] | undefined
  readonly contributions: readonly Contribution[]
  /** Of the final norm and the head, which belong to no part; by position. */
  readonly bias: Float32Array
  /** The logit (or difference) as the model has it, before a soft cap; by position. */
  readonly logits: Float32Array
}

type Label = Omit<Contribution, 'values'>

/** Sites of the parts, in the order of the forward pass. */
function partsOf(spec: DecoderSpec): { readonly label: Label; readonly site: string }[] {
  const own: { label: Label; site: string }[] = [{ label: { part: 'embedding' }, site: 'hook_embed' }]
  if (spec.position.kind === 'learned') own.push({ label: { part: 'positions' }, site: 'hook_pos_embed' })
  for (let layer = 0; layer < spec.layers; layer++) {
    const site = `blocks.${layer}`
    if (mixerOf(spec, layer) === 'stateSpace')
      own.push({ label: { part: 'state space', layer }, site: `${site}.hook_ssm_out` })
    else
      for (let head = 0; head < spec.attention!.heads; head++)
        own.push({ label: { part: 'head', layer, head }, site: `${site}.attn.hook_result` })
    if (spec.ffn) own.push({ label: { part: 'mlp', layer }, site: `${site}.hook_mlp_out` })
  }
  return own
}

/**
 * What the norm of a sum makes of one of its parts, [..., width]: the sum's own scale, the part's own mean. Without the
 * norm's bias.
 */
function frozenNorm(part: Tensor, whole: Tensor, params: Norm | undefined, spec: DecoderSpec): Tensor {
  if (!params) return part
  const { kind, epsilon, offset = 0 } = spec.norm
  const centred = (x: Tensor): Tensor => (kind === 'layer' ? x.sub(x.mean(-1, { keep: true })) : x)
  const square = centred(whole)
  const scale = square.mul(square).mean(-1, { keep: true }).add(epsilon).sqrt()
  const normal = centred(part).div(scale)
  return params.weight ? normal.mul(offset === 0 ? params.weight : params.weight.add(offset)) : normal
}

interface Arguments {
  readonly tokens: Tensor
  /** i32 [T] */
  readonly targets: Tensor
  readonly against?: Tensor | undefined
}

function compileAttribution(model: Model, compared: boolean) {
  const { spec } = model
  if (spec.norm.place === 'sum')
    throw new Error(`${model.path} normalises each sum: no stream is left that parts are added to`)
  const parts = partsOf(spec)
  const lastSite = `blocks.${spec.layers - 1}.hook_resid_post`
  const read = [...new Set([...parts.map(({ site }) => site), lastSite, 'ln_final.hook_normalized'])]
  return model.compile(
    'attribution',
    [{ tokens: [null, 'time'], targets: ['time'], ...(compared && { against: ['time'] }) }],
    ({ forward, params }: Pass, { tokens, targets, against }: Arguments) => {
      const { reads } = forward({ tokens }, { read })
      const row = (site: string): Tensor => reads[site]!.slice(0, 0, 1).sum(0)
      const [whole, final] = [row(lastSite), row('ln_final.hook_normalized')]
      const logitOf = (x: Tensor): Tensor => {
        const all = unembed(params, x)
        const one = (ids: Tensor): Tensor => all.gatherElements(ids.expandDims(-1), -1).sum(-1)
        return against ? one(targets).sub(one(against)) : one(targets)
      }
      // The head is linear: its gradient is the row that reads the logit, whatever the head is made of.
      const { value: logits, pullback } = vjp(logitOf, final)
      const [direction] = pullback(logits.mul(0).add(1))
      const through = (x: Tensor): Tensor => x.mul(direction).sum(-1)
      const written = (x: Tensor): Tensor => through(frozenNorm(x, whole, params.lnFinal, spec))
      const values: Tensor[] = []
      const biases = new Map<number, Tensor>()
      for (const { label, site } of parts) {
        const { layer, head } = label
        if (layer === undefined || head === undefined) {
          values.push(written(row(site)))
          continue
        }
        const block = params.blocks[layer]!
        const heads = row(site) // [T, H, width]
        const bias = biasOf(block.attn!.o)
        const sum = bias ? heads.sum(1).add(bias) : heads.sum(1)
        const after = (x: Tensor): Tensor => frozenNorm(x, sum, block.ln1Post, spec)
        values.push(written(after(heads.slice(1, head, head + 1).sum(1))))
        if (head > 0) continue
        const own = bias ? after(bias.broadcastTo(sum.shape)) : undefined
        const behind = block.ln1Post?.bias
        const total = own && behind ? own.add(behind) : (own ?? behind?.broadcastTo(sum.shape))
        if (total) biases.set(layer, written(total))
      }
      const normBias = params.lnFinal?.bias
      const headBias = logits.sub(through(final))
      return {
        values,
        biases: [...biases.values()],
        bias: normBias ? headBias.add(through(normBias)) : headBias,
        logits,
      }
    },
  )
}

/** Explains the logits of one row of tokens. */
export async function attribute(
  model: Model,
  tokens: readonly number[],
  { targets, against }: AttributeOptions = {},
): Promise<Attribution> {
  for (const [name, list] of Object.entries({ targets, against })) {
    if (list === undefined) continue
    if (list.length !== tokens.length)
      throw new Error(`attribute: ${name} has ${list.length} tokens for ${tokens.length} positions`)
    model.rows([list])
  }
  const ids = targets ?? (await nextTokens(model, tokens))
  using program = compileAttribution(model, against !== undefined)
  const list = (row: readonly number[]): Tensor => tensor(Int32Array.from(row))
  const run = program({
    tokens: model.rows([tokens]),
    targets: list(ids),
    against: against && list(against),
  })
  const { values, biases, bias, logits } = await loaded(await run)
  const numbers = (x: Tensor): Float32Array => x.data as Float32Array
  const { spec } = model
  const contributions = partsOf(spec).map(
    ({ label }, i): Contribution => ({ ...label, values: numbers(values[i]!) }),
  )
  let next = 0
  model.params.blocks.forEach((block, layer) => {
    if (mixerOf(spec, layer) !== 'attention') return
    if (!block.attn?.o.bias && !block.ln1Post?.bias) return
    contributions.push({ part: 'attention bias', layer, values: numbers(biases[next++]!) })
  })
  return { tokens, targets: ids, against, contributions, bias: numbers(bias), logits: numbers(logits) }
}

/** The tokens that follow, and at the end the one that the model finds likeliest. */
async function nextTokens(model: Model, tokens: readonly number[]): Promise<number[]> {
  const { logits } = await loaded(await model.run([tokens]))
  const last = (logits!.data as Float32Array).slice(-model.spec.vocab)
  const best = last.reduce((best, value, id) => (value > last[best]! ? id : best), 0)
  logits!.dispose()
  return [...tokens.slice(1), best]
}
