/** Objectives: from a model and a batch to a loss. One table, from which a recipe selects by `kind`. */
import * as z from 'zod'
import { chooseKind, readOptions } from '../choice.ts'
import { classification, classificationSchema } from './classification.ts'
import { contrastive, contrastiveSchema } from './contrastive.ts'
import { distillation, distillationSchema } from './distillation.ts'
import { dpo, dpoSchema } from './dpo.ts'
import { fillInTheMiddleSchema } from './fillInTheMiddle.ts'
import { grpo, grpoSchema } from './grpo.ts'
import { masked, maskedDecoder, maskedEncoder, maskedSchema } from './masked.ts'
import { meap, meapSchema } from './meap.ts'
import { nextToken, nextTokenSchema } from './nextToken.ts'
import { orpo, orpoSchema } from './orpo.ts'
import { ppo, ppoSchema } from './ppo.ts'
import { rewardModel } from './rewardModel.ts'
import { simpo, simpoSchema } from './simpo.ts'
import { spanCorruption, spanSchema } from './spanCorruption.ts'

const none = z.strictObject({})
const pairs = 'it learns from pairs of a chosen and a rejected answer, and a recipe has texts'
const rollouts = 'it learns from answers that the model gives, and a recipe has texts: use policyRun'

/**
 * `options` is what each can be asked for, `make` what makes it of a spec and options, `batch` what it takes. What a
 * recipe cannot run says why in `refused`; it is there for programs.
 */
export const objectives = {
  'next-token': { options: nextTokenSchema, make: nextToken, batch: 'tokens' },
  meap: { options: meapSchema, make: meap, batch: 'tokens' },
  'fill-in-the-middle': { options: fillInTheMiddleSchema, make: nextToken, batch: 'tokens' },
  distillation: { options: distillationSchema, make: distillation, batch: 'tokens' },
  masked: {
    options: maskedSchema,
    make: { encoder: maskedEncoder, decoder: maskedDecoder, objective: masked },
    batch: 'tokens',
    refused: 'it makes an encoder, and a recipe trains decoders that write',
  },
  'span-corruption': {
    options: spanSchema,
    make: spanCorruption,
    batch: 'spans',
    refused: 'it is of encoder-decoders, and a recipe trains decoders',
  },
  classification: {
    options: classificationSchema,
    make: classification,
    batch: 'labels',
    refused: 'it learns from labels, and a recipe has texts',
  },
  contrastive: {
    options: contrastiveSchema,
    make: contrastive,
    batch: 'texts that belong together',
    refused: 'it learns from texts that belong together, and a recipe has single ones',
  },
  dpo: { options: dpoSchema, make: dpo, batch: 'preferences', refused: pairs },
  orpo: { options: orpoSchema, make: orpo, batch: 'preferences', refused: pairs },
  simpo: { options: simpoSchema, make: simpo, batch: 'preferences', refused: pairs },
  'reward-model': { options: none, make: rewardModel, batch: 'preferences', refused: pairs },
  ppo: { options: ppoSchema, make: ppo, batch: 'rollouts', refused: rollouts },
  grpo: { options: grpoSchema, make: grpo, batch: 'rollouts', refused: rollouts },
} as const

export type ObjectiveKind = keyof typeof objectives
type OptionsOf<K extends ObjectiveKind> = z.output<(typeof objectives)[K]['options']>

/** The kind that a recipe names, if a recipe can run it, with its options as they stand there. */
export function objectiveKind(recipe: object): { kind: ObjectiveKind; rest: Record<string, unknown> } {
  const chosen = chooseKind(objectives, recipe, 'objective')
  const entry = objectives[chosen.kind]
  if ('refused' in entry)
    throw new Error(`objective: '${chosen.kind}' is not for recipes: ${entry.refused}; the library has it`)
  return chosen
}

/** The options of a kind, checked. Unknown and impossible ones are errors that name the choices. */
export const objectiveOptions = <K extends ObjectiveKind>(kind: K, options: object): OptionsOf<K> =>
  readOptions(objectives[kind].options as z.ZodObject, options, kind) as OptionsOf<K>

export { generalizedAdvantages, groupAdvantages } from './advantages.ts'
export { type ClassifierParts, classification, type LabelledBatch } from './classification.ts'
export { type ContrastiveBatch, contrastive, type TextRows } from './contrastive.ts'
export { type DistilledParts, distillation, type StudentParts } from './distillation.ts'
export { dpo } from './dpo.ts'
export { type FillInTheMiddleOptions, fillInTheMiddle, rearrangeWindow } from './fillInTheMiddle.ts'
export { grpo } from './grpo.ts'
export { type HiddenOptions, newProjections } from './hiddenStates.ts'
export { type MaskedModel, type MaskedOptions, masked, maskedDecoder, maskedEncoder } from './masked.ts'
export { meap, meapSchema } from './meap.ts'
export { nextToken, nextTokenSchema, type TokenBatch } from './nextToken.ts'
export { orpo } from './orpo.ts'
export { patchLevel, patchLevelSchema } from './patchLevel.ts'
export type { PolicyAlgorithm, PolicyBatch, PolicyParts } from './policy.ts'
export { ppo } from './ppo.ts'
export type { PolicyAndReference, PreferenceBatch } from './preference.ts'
export { rewardByModel, rewardModel } from './rewardModel.ts'
export { type Answered, answerRows, paddedRows } from './rows.ts'
export { simpo } from './simpo.ts'
export {
  corruptSpans,
  decoderSpans,
  type SpanBatch,
  type SpanOptions,
  spanBatches,
  spanCorruption,
} from './spanCorruption.ts'
export { referenced, taught } from './trainables.ts'
