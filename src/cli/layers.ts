/** `glossa layers`: what feed-forward layers write and would learn, and how depth builds a prediction. */
import * as z from 'zod'
import { needed, onlyOwn } from './actions.ts'
import { exactlyOne, jsonOption, modelFlags, modelOptions, tokensOption } from './common.ts'
import { showGradient } from './layers/gradient.ts'
import { showLaw } from './layers/law.ts'
import { showPromoting, showValues } from './layers/values.ts'
import { checkPicture } from './picture.ts'
import { verb } from './verb.ts'

// Adapters have gradients of their own, and a value vector is of the bare matrix.
const { lora: _, with: __, ...model } = modelOptions.shape

const own = {
  gradient: ['prompt', 'tokens', 'answer', 'top', 'plot'],
  values: ['prompt', 'tokens', 'words', 'top', 'plot'],
  law: ['fit', 'fitTokens', 'plot'],
} as const

export default verb({
  name: 'layers',
  summary: 'See what feed-forward layers write and would learn, and how depth builds a prediction',
  options: z.strictObject({
    view: z
      .enum(['gradient', 'values', 'law'])
      .describe(
        'gradient: the token towards which a step of gradient descent shifts each layer; values: what the dominant value vectors promote; law: what each layer leaves unpredicted',
      ),
    ...model,
    prompt: z.string().optional().describe('gradient, values: the text that the model reads'),
    tokens: tokensOption.describe('gradient, values: token ids instead of text'),
    answer: z
      .string()
      .min(1)
      .optional()
      .describe('gradient: the token that the step is to make likelier: its text, or #ID'),
    words: z
      .array(z.string().min(1))
      .optional()
      .describe('values: without a text, the value vectors that promote these words most'),
    top: z.int().positive().optional().describe('gradient, values: tokens of each place in JSON (5)'),
    fit: z
      .string()
      .min(1)
      .optional()
      .describe('law: text to fit on: a file, folder, pattern or hf://datasets/org/name'),
    fitTokens: z
      .int()
      .positive()
      .optional()
      .describe('law: tokens to fit on, and as many to measure on (20000)'),
    plot: z.string().min(1).optional().describe('A picture, .svg or .png'),
    json: jsonOption,
  }),
  argument: 'view',
  flags: {
    model: modelFlags.model,
    context: modelFlags.context,
    device: modelFlags.device,
    prompt: { short: 'p' },
    answer: { value: 'TOKEN' },
    words: { value: 'WORD' },
    fit: { value: 'CORPUS' },
    plot: { value: 'FILE' },
  },
  notes: `glossa layers gradient -m default -p "The little dog ran to the" --answer " cake"
glossa layers values -m default -p "Once upon a time there was a"
glossa layers values -m default --words happy --words smiled
glossa layers law -m default --fit stories.txt.gz

docs/inside.md explains the three. JSON: gradient { loss, tokens, target, places: [{ layer, side, position, norm, tokens,
rank }] }; values { tokens, places: [{ layer, position, index, sign, coefficient, weight, tokens }] } or { vectors };
law { residuals, correlation, decay, ratio, tokens, heldOut }.`,
  async run({ view, json, plot, ...given }) {
    const does = `layers ${view}`
    onlyOwn(does, { ...given, plot }, [...Object.keys(model), ...own[view]])
    checkPicture(plot)
    const { top = 5, words } = given
    if (view !== 'law')
      exactlyOne({
        '-p': given.prompt,
        '--tokens': given.tokens,
        ...(view === 'values' && { '--words': words }),
      })
    if (view === 'gradient')
      return showGradient({ ...given, answer: needed(does, 'answer', given.answer), top, plot, json })
    if (view === 'law') {
      const { fitTokens = 20_000 } = given
      return showLaw({ ...given, fit: needed(does, 'fit', given.fit), fitTokens, plot, json })
    }
    return words
      ? showPromoting({ ...given, words, top, plot, json })
      : showValues({ ...given, top, plot, json })
  },
})
