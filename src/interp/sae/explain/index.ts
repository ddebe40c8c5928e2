/** Automatic interpretation of features (Paulo et al. 2024). */
export { auroc, balancedAccuracy, bestThreshold, correlation } from './auroc.ts'
export {
  type ActiveContext,
  type CollectOptions,
  Contexts,
  collectContexts,
  type FeatureActivity,
  type FeatureReader,
} from './contexts.ts'
export { Intervention, interventionScores, namedTokens, type Steered } from './intervene.ts'
export { type Ask, asking, explainBy, explainerPrompt, markedText, textRater } from './prompt.ts'
export {
  type OwnedReader,
  type PlacedRows,
  rowsOfCache,
  rowsOfSource,
  saeReader,
  sparsifiedReader,
  thresholdReader,
} from './rows.ts'
export {
  type Clause,
  describeRule,
  type Rule,
  RuleExplainer,
  type RuleOptions,
  type RuleValue,
  type Slot,
  scoreContext,
  scoreToken,
  slots,
} from './rule.ts'
export { type ExplainOptions, explainSae } from './run.ts'
export {
  type ExampleOptions,
  type Examples,
  examplesOf,
  type Marked,
  type Rater,
  ruleRater,
  type Scores,
  score,
  simulation,
} from './scores.ts'
