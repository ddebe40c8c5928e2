/** Explanations of an SAE's features by rules, from one text, with their scores on another. */
import type { Model } from '../../../model/index.ts'
import { ActivationSource } from '../../activations/index.ts'
import type { Sae } from '../sae.ts'
import { type Contexts, collectContexts } from './contexts.ts'
import type { Explanation } from './file.ts'
import { markedText } from './prompt.ts'
import { rowsOfSource, saeReader } from './rows.ts'
import { describeRule, RuleExplainer } from './rule.ts'
import { examplesOf, ruleRater, score, simulation } from './scores.ts'

type Tokens = Int32Array | Uint16Array

export interface ExplainOptions {
  readonly model: Model
  readonly sae: Sae
  /** Where explanations come from, and where they are scored: different texts. */
  readonly explaining: Tokens
  readonly scoring: Tokens
  /** All by default. */
  readonly features?: readonly number[] | undefined
  /** Tokens of a context; 32 by default. */
  readonly length?: number
  readonly begin?: number | undefined
  readonly exclude?: readonly number[]
  /** Contexts that are told of each feature; 3 by default. */
  readonly top?: number
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
  readonly progress?: (done: number, of: number) => void
}

/** Features that are collected in one pass: about 70 MB of contexts. */
const block = 2048

/** Features that are never active get a record without words, so that each is accounted for. */
export async function explainSae(options: ExplainOptions): Promise<Explanation[]> {
  const { model, sae, explaining, scoring, length = 32, begin, exclude, top = 3, seed = 0, signal } = options
  const { site, dSae } = sae.config
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  const { tokenizer } = model
  if (!tokenizer) throw new Error(`${model.path} has no tokenizer, which explanations in words need`)
  const features = options.features ?? Array.from({ length: dSae }, (_, i) => i)
  for (const feature of features)
    if (!Number.isInteger(feature) || feature < 0 || feature >= dSae)
      throw new RangeError(`there is no feature ${feature}: the SAE has ${dSae}, counted from 0`)
  // Windows of four contexts, so that most have something before them.
  const sources = [explaining, scoring].map(
    (tokens) =>
      new ActivationSource({
        ...{ model, tokens, sites: [site], begin, exclude: exclude ?? [] },
        length: 4 * length + (begin === undefined ? 0 : 1),
      }),
  )
  const blocks = Array.from({ length: Math.ceil(features.length / block) }, (_, i) =>
    features.slice(i * block, (i + 1) * block),
  )
  const passes = blocks.length * sources.reduce((sum, { chunks }) => sum + chunks, 0)
  let done = 0
  const decode = (tokens: readonly number[]): string => tokenizer.decode([...tokens])
  const found: Explanation[] = []
  for (const own of blocks) {
    using reader = saeReader(model.engine, sae, own)
    const collected: Contexts[] = []
    for (const [i, source] of sources.entries())
      collected.push(
        await collectContexts({
          ...{ rows: rowsOfSource(source, site), reader, tokens: source.options.tokens, length, top, signal },
          seed: seed + i,
          progress: () => options.progress?.(++done, passes),
        }),
      )
    const [seen, held] = collected as [Contexts, Contexts]
    const explainer = new RuleExplainer(seen, { seed })
    for (const [i, feature] of own.entries()) {
      const { density, top: best } = seen.of(i)
      const rule = explainer.explain(i)
      const examples = rule && examplesOf(held, i, { seed })
      found.push({
        feature,
        density,
        explanation: rule ? describeRule(rule, (token) => decode([token])) : undefined,
        rule,
        top: best.map(({ tokens, activations }) => ({
          activation: activations.reduce((a, b) => Math.max(a, b), 0),
          text: markedText(tokens, (at) => activations[at]! > 0, decode),
        })),
        scores:
          rule && examples
            ? { ...(await score(ruleRater(rule), examples)), simulation: simulation(rule, examples) }
            : undefined,
      })
    }
  }
  return found
}
