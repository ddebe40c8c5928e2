/** `glossa steer`: learning a steer from two files of texts, applying it, and measuring it at several strengths. */
import * as z from 'zod'
import { steerMethodOf } from '../steer/index.ts'
import { needed, onlyOwn } from './actions.ts'
import { jsonOption, modelFlags, modelOptions } from './common.ts'
import generate from './generate.ts'
import { fitSteer } from './steer/fit.ts'
import { runSweep } from './steer/sweep.ts'
import { verb } from './verb.ts'

const { with: _, lora: __, ...model } = modelOptions.shape

export default verb({
  name: 'steer',
  summary: 'Learn a steer from two files of texts, apply it, or measure it at several strengths',
  options: z.strictObject({
    action: z.enum(['fit', 'apply', 'sweep']).describe('What to do'),
    ...model,
    positive: z.string().min(1).optional().describe('fit, sweep: texts of the style, one a line'),
    negative: z.string().min(1).optional().describe('fit, sweep: texts of the opposite, one a line'),
    kind: z
      .enum(['mean', 'pca', 'lm-steer'])
      .optional()
      .describe('fit: difference of means (default), principal component of pairs, or LM-Steer'),
    output: z
      .string()
      .min(1)
      .optional()
      .describe('fit: the steer, .gguf or (lm-steer) .safetensors; sweep: a plot, .svg or .png'),
    layers: z
      .array(z.int().nonnegative())
      .optional()
      .describe('fit: of mean and pca; all but the first by default'),
    pooling: z
      .enum(['last', 'mean'])
      .optional()
      .describe('fit: the state of the last token (default), or the mean'),
    steps: z.int().positive().optional().describe('fit lm-steer: steps of training; 300 by default'),
    batch: z.int().positive().optional().describe('fit lm-steer: texts a step; 16 by default'),
    rate: z.number().positive().optional().describe('fit lm-steer: learning rate; 0.01 by default'),
    rank: z.int().positive().optional().describe('fit lm-steer: of its matrix; 64 by default, or the width'),
    file: z.string().min(1).optional().describe('apply, sweep: the steer'),
    strength: z.number().optional().describe('apply: 1 by default'),
    strengths: z.array(z.number()).min(1).optional().describe('sweep: -2,-1,0,1,2 by default'),
    words: z
      .string()
      .min(1)
      .optional()
      .describe('sweep: a text is a hit with one of these words; instead of the texts'),
    prompt: z.array(z.string().min(1)).optional().describe('apply, sweep: texts to continue'),
    samples: z
      .int()
      .positive()
      .optional()
      .describe('apply, sweep: continuations of each; 1 and 8 by default'),
    maxTokens: z.int().positive().optional().describe('apply, sweep: 64 and 40 by default'),
    temperature: z.number().nonnegative().optional().describe('apply, sweep: 0.8 and 1 by default'),
    seed: z.int().nonnegative().optional(),
    json: jsonOption,
  }),
  argument: 'action',
  flags: {
    model: modelFlags.model,
    context: modelFlags.context,
    device: modelFlags.device,
    positive: { value: 'FILE' },
    negative: { value: 'FILE' },
    output: { short: 'o', value: 'FILE' },
    file: { short: 'f', value: 'FILE' },
    words: { value: 'FILE' },
    prompt: { short: 'p' },
    maxTokens: { short: 'n' },
    temperature: { name: 'temp', also: ['temperature'] },
  },
  notes: `glossa steer fit -m models/starter --positive happy.txt --negative sad.txt -o happy.gguf
glossa steer apply -m models/starter -f happy.gguf --strength 2 -p "One day Tom"
glossa steer sweep -m models/starter -f happy.gguf --positive other-happy.txt --negative other-sad.txt -p "One day Tom"

apply is glossa generate --with control-vector:file=...,strength=... (or lm-steer:...), which takes several. sweep: 'target'
is the share of continuations that a naive Bayes classifier of the two files takes for positive, or that have one of
--words; give it other texts than fit had. Perplexity is that of the continuations under the unsteered model; distinct-2
is the share of pairs of tokens that are new, repetition-4 that of runs of four which a text had before.`,
  async run({ action, json, ...given }) {
    const own: Readonly<Record<typeof action, readonly string[]>> = {
      fit: [
        'positive',
        'negative',
        'kind',
        'output',
        'layers',
        'pooling',
        'steps',
        'batch',
        'rate',
        'rank',
        'seed',
      ],
      apply: ['file', 'strength', 'prompt', 'samples', 'maxTokens', 'temperature', 'seed'],
      sweep: [
        'file',
        'positive',
        'negative',
        'words',
        'strengths',
        'prompt',
        'samples',
        'maxTokens',
        'temperature',
        'seed',
        'output',
      ],
    }
    const does = `steer ${action}`
    onlyOwn(does, given, [...Object.keys(model), ...own[action]])
    if (action === 'fit') {
      const { positive, negative, output } = given
      return fitSteer({
        ...given,
        positive: needed(does, 'positive', positive),
        negative: needed(does, 'negative', negative),
        output: needed(does, 'output', output),
        json,
      })
    }
    const file = needed(does, 'file', given.file)
    const prompt = needed(does, 'prompt', given.prompt)
    const method = steerMethodOf(file)
    if (action === 'sweep') return runSweep({ ...given, file, prompt, method, json })
    const { strength = 1, samples, maxTokens, temperature, seed } = given
    const settings = Object.entries({ samples, maxTokens, temperature, seed }).filter(
      ([, value]) => value !== undefined,
    )
    const shared = Object.fromEntries(
      Object.keys(model).map((key) => [key, given[key as keyof typeof model]]),
    )
    return generate.run(
      generate.options.parse({
        ...shared,
        ...Object.fromEntries(settings),
        prompt,
        json,
        with: [`${method}:file=${file},strength=${strength}`],
      }),
    )
  },
})
