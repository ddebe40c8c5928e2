/** The objective of a recipe: what it trains, on which batches, and what is measured and written. */
import { type DecoderParams, type DecoderSpec, load } from '../../model/index.ts'
import type { Tokenizer } from '../../text/index.ts'
import type { Objective } from '../objective.ts'
import {
  distillation,
  fillInTheMiddle,
  meap,
  newProjections,
  nextToken,
  objectiveKind,
  objectiveOptions,
  type StudentParts,
  type TokenBatch,
  taught,
} from '../objectives/index.ts'
import { type Batches, type Trainable, wholly } from '../trainer.ts'

export interface RecipeObjective {
  readonly objective: Objective<unknown, TokenBatch>
  /** What held-out texts are measured by: next-token prediction, so that runs can be compared. */
  readonly measured: Objective<unknown, TokenBatch>
  readonly model: Trainable<unknown, unknown, unknown>
  /** Windows as this objective wants them. */
  batches(windows: Batches<TokenBatch>): Batches<TokenBatch>
  /** What is written as the model. */
  weights(parts: unknown): DecoderParams
}

interface Surroundings {
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  readonly tokenizer: Tokenizer
  /** Of the data: order and cuts. */
  readonly seed: number
  readonly at: (path: string) => string
}

/** Throws for an objective that a recipe cannot run, and for options that are not there. */
export function recipeObjective(given: object, around: Surroundings): RecipeObjective {
  const { kind, rest } = objectiveKind(given)
  const { spec, params, tokenizer, seed, at } = around
  const measured = nextToken(spec)
  const whole = {
    measured,
    model: wholly(params),
    batches: (windows: Batches<TokenBatch>) => windows,
    weights: (parts: DecoderParams) => parts,
  }
  if (kind === 'meap') {
    const options = objectiveOptions(kind, withTokens(rest, { maskToken: '<|mask|>' }, tokenizer))
    return { ...whole, objective: meap(spec, options) }
  }
  if (kind === 'fill-in-the-middle') {
    const names = { prefix: '<|fim_prefix|>', middle: '<|fim_middle|>', suffix: '<|fim_suffix|>' }
    const options = objectiveOptions(kind, {
      seed,
      end: tokenizer.eos,
      ...(tokenizer.addBos && tokenizer.bos !== tokenizer.eos && { begin: tokenizer.bos }),
      ...withTokens(rest, names, tokenizer),
    })
    return { ...whole, objective: measured, batches: (windows) => fillInTheMiddle(windows, options) }
  }
  if (kind === 'distillation') {
    const { teacher: path, ...own } = rest
    if (typeof path !== 'string') throw new Error("distillation: needs a 'teacher', the path of a model")
    const options = objectiveOptions(kind, own)
    const teacher = load(at(path))
    const projections = options.hidden && newProjections(options.hidden, spec, teacher.spec, seed)
    return {
      objective: distillation(spec, teacher.spec, options),
      measured: {
        ...measured,
        loss: ({ student }: StudentParts, batch, key) => measured.loss(student, batch, key),
      },
      model: taught({ student: params, ...(projections && { projections }) }, teacher.params),
      batches: (windows) => windows,
      weights: ({ student }: StudentParts) => student,
    }
  }
  const options = objectiveOptions('next-token', rest)
  return { ...whole, objective: nextToken(spec, options) }
}

/** Options with the ids of tokens that are given by name, or not at all and have this one. */
function withTokens(
  options: Record<string, unknown>,
  names: Readonly<Record<string, string>>,
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const ids = Object.entries(names).map(([option, usual]) => {
    const value = options[option] ?? usual
    return [option, typeof value === 'string' ? tokenId(value, option, tokenizer) : value]
  })
  return { ...options, ...Object.fromEntries(ids) }
}

function tokenId(name: string, option: string, tokenizer: Tokenizer): number {
  const { ids } = tokenizer.encode(name, { addSpecialTokens: false })
  if (ids.length !== 1 || ids[0] === tokenizer.unk)
    throw new Error(`objective: the tokenizer has no token '${name}'; give another as '${option}'`)
  return ids[0]!
}
