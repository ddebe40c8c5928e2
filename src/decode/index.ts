/** Generation: the loop, its options, and the rules that shape it. */
export { type Beam, type BeamOptions, beamSearch } from './beam.ts'
export {
  Constraint,
  constraint,
  type JsonSchema,
  type OutputForm,
  parseGbnf,
  schemaGrammar,
  type ToolFunction,
  toolCallGrammar,
} from './constrain/index.ts'
export {
  type Completion,
  type Context,
  complete,
  generate,
  type Prompt,
  promptTokens,
} from './generate.ts'
export { argMax, draw, logSumExp, mostLikely, type TokenLogprob } from './logits.ts'
export { meanState } from './meanState.ts'
export { type GenerateOptions, generateSchema, parseOptions, rulesOf } from './options.ts'
export { PromptCache } from './promptCache.ts'
export type { FinishReason, GenerateEvent } from './row.ts'
export * from './rule.ts'
export * from './rules/index.ts'
export { type ScoreContext, scoreBatch, scoreStepwise, scoreTokens } from './score.ts'
export {
  type CorpusScore,
  type DocumentScore,
  type ScoreDocumentsOptions,
  scoreDocuments,
  scoredBytes,
} from './scoreDocuments.ts'
export { type ScoredToken, scoreTop } from './scoreTop.ts'
export { plainChat, textModel } from './textModel.ts'
