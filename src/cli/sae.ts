/** `glossa sae`: sparse autoencoders: training them, measuring them, looking at their features. */
import * as z from 'zod'
import { needed, onlyOwn } from './actions.ts'
import { jsonOption } from './common.ts'
import { evaluate } from './sae/evaluate.ts'
import { explain } from './sae/explain.ts'
import { features } from './sae/features.ts'
import { show } from './sae/show.ts'
import { train } from './sae/train.ts'
import { type Flag, verb } from './verb.ts'

const positive = z.int().positive()
const text = z.string().min(1)

const options = z.strictObject({
  action: z
    .enum(['train', 'eval', 'show', 'explain', 'features'])
    .describe(
      'train learns SAEs of a model; eval measures them in it; show looks at features; explain says what features are; features searches that',
    ),
  recipe: text.optional().describe('train: a recipe, instead of the options below'),
  model: text.optional().describe('A folder in Hugging Face layout, a .gguf file, or org/name on the hub'),
  sae: z
    .array(text)
    .min(1)
    .optional()
    .describe("eval, show, explain, features: an SAE's folder, as SAELens or sparsify write it"),
  file: z.array(text).min(1).optional().describe('Texts, in .txt or .txt.gz'),
  site: z
    .array(text)
    .min(1)
    .optional()
    .describe('train: the tap that it reads; several for one SAE of all of them'),
  siteOut: text.optional().describe('train: the tap that it gives, for a transcoder'),
  kind: text
    .optional()
    .describe('train: standard, p-annealing, gated, topk, batchtopk or jumprelu; topk if not given'),
  k: positive.optional().describe('train: active features of a token; 32 if not given'),
  expansion: positive.optional().describe('train: features, as a multiple of the width; 16 if not given'),
  seed: z.int().nonnegative().optional().describe('train: of its first directions'),
  batch: positive.optional().describe('train: tokens of a step; 2048 if not given'),
  rate: z.number().positive().optional().describe('train: learning rate'),
  tokens: positive
    .optional()
    .describe(
      'Tokens to learn from, to evaluate on, to look through, or to explain from: 2,000,000, 32,768, 65,536 and 131,072',
    ),
  heldOut: z
    .number()
    .positive()
    .max(0.5)
    .optional()
    .describe(
      "Share of each file's documents, the last ones, that is evaluated and not learned; 0.02 if not given",
    ),
  length: positive.optional().describe('Tokens of a window'),
  feature: z
    .array(z.int().nonnegative())
    .optional()
    .describe('show, explain, features: by number; some of all densities, all, or those found if not given'),
  top: positive
    .optional()
    .describe(
      'show: contexts and logits of each feature, 5 if not given; explain: contexts, 3; features: how many, 20',
    ),
  search: text.optional().describe('features: words of the explanation, or of the contexts'),
  out: text.optional().describe("train: the run's folder; eval: where density.svg goes"),
  resume: z
    .boolean()
    .default(false)
    .describe('train: go on where the run in the folder was stopped or killed'),
  device: text.default('cpu').describe('Execution provider of ONNX Runtime'),
  threads: positive.optional().describe('Threads of one operation; all cores by default'),
  json: jsonOption,
})
export type SaeFlags = z.output<typeof options>

const flags: Readonly<Record<string, Flag>> = {
  recipe: { value: 'RECIPE.json' },
  model: { short: 'm', value: 'MODEL' },
  sae: { value: 'FOLDER' },
  file: { value: 'FILE' },
  site: { value: 'SITE' },
  siteOut: { value: 'SITE' },
  kind: { value: 'KIND' },
  search: { value: 'WORDS' },
  out: { short: 'o', value: 'FOLDER' },
  device: { value: 'NAME' },
}

/** What each action takes beside what all take. */
const taken: Readonly<Record<SaeFlags['action'], readonly (keyof SaeFlags)[]>> = {
  train: [
    ...(['recipe', 'site', 'siteOut', 'kind', 'k', 'expansion', 'seed', 'batch', 'rate', 'heldOut'] as const),
    ...(['out', 'resume'] as const),
  ],
  eval: ['sae', 'heldOut', 'out'],
  show: ['sae', 'feature', 'top'],
  explain: ['sae', 'feature', 'top'],
  features: ['sae', 'feature', 'top', 'search'],
}
const shared: readonly string[] = ['action', 'model', 'file', 'tokens', 'length', 'device', 'threads', 'json']

export default verb({
  name: 'sae',
  summary: 'Train sparse autoencoders, measure them, look at their features',
  options,
  flags,
  argument: 'action',
  notes: `glossa sae train -m models/starter --site blocks.2.hook_resid_post --file stories.txt.gz -o runs/my-sae
glossa sae eval -m models/starter --sae runs/my-sae/last/topk-2_resid_post --file stories.txt.gz
glossa sae show -m models/starter --sae runs/my-sae/last/topk-2_resid_post --file stories.txt.gz --feature 17
glossa sae explain -m models/starter --sae runs/my-sae/last/topk-2_resid_post --file stories.txt.gz
glossa sae features --sae runs/my-sae/last/topk-2_resid_post --search dog

Lines <|endoftext|> separate the documents of a text file. Sites are taps: glossa inspect -m MODEL lists them. A recipe
trains several SAEs from one stream of activations; docs/sae.md has its keys, and what the metrics mean.`,
  async run(given) {
    const does = `sae ${given.action}`
    onlyOwn(does, given, [...shared, ...taken[given.action]])
    if (given.action === 'train') return train(given)
    if (given.action === 'features') return features(given)
    const found = {
      ...given,
      model: needed(does, 'model', given.model),
      sae: needed(does, 'sae', given.sae),
      file: needed(does, 'file', given.file),
    }
    return { eval: evaluate, show, explain }[given.action](found)
  },
})
