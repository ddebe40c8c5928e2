/** The law of equi-learning (paper 106): does each layer leave the same share of the next token unpredicted? */
import { random } from '../../array/index.ts'
import { lawOfMoments, layerMoments } from '../../interp/nextTokenLaw.ts'
import { Model } from '../../model/index.ts'
import { lines } from '../../plot/index.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { openProbed, signed, windows } from '../probe.ts'
import { type Corpus, defaultModel, describeModel, once, smallConfig, stories, trainSmall } from '../small.ts'

const layers = 8
const width = 64
const steps = 300
const checkpoints = { untrained: 0, 'step 30': 30, 'step 100': 100, trained: steps } as const
const length = 128
const rows = 160

/** The law over a model's layers on held-out text, and the residuals by layer; `shuffled` numbers tokens by lot. */
async function measure(
  model: Model,
  tokens: Int32Array | Uint16Array,
  seed: number,
): Promise<{ own: Metrics; shuffled: Metrics }> {
  const { vocab } = model.spec
  const uniform = random.generator(seed)
  const numbers = Float64Array.from({ length: vocab }, (_, i) => i)
  const lot = numbers.slice()
  for (let i = vocab - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[lot[i], lot[j]] = [lot[j]!, lot[i]!]
  }
  const drawn = windows(tokens, { count: 2 * rows, length, seed })
  const options = { values: [numbers, lot] }
  const fitted = await layerMoments(model, drawn.slice(0, rows), options)
  const others = await layerMoments(model, drawn.slice(rows), options)
  const metrics = (target: number): Metrics => {
    const { correlation, decay, ratio, residuals, heldOut } = lawOfMoments(fitted, others, target)
    return {
      correlation,
      decay,
      'last to first': ratio,
      'held-out correlation': heldOut!.correlation,
      'held-out last to first': heldOut!.ratio,
      ...Object.fromEntries(residuals.map((value, i) => [`residual, layer ${i + 1}`, value])),
    }
  }
  return { own: metrics(0), shuffled: metrics(1) }
}

/** What is measured of a new model at its checkpoints. */
async function train(
  context: ExperimentContext,
  corpus: Corpus,
  seed: number,
): Promise<Record<string, Metrics>> {
  const config = smallConfig(corpus.tokenizer.vocabSize, {
    ...{ num_hidden_layers: layers, hidden_size: width, intermediate_size: 172 },
  })
  const found: Record<string, Metrics> = {}
  const names = new Map(Object.entries(checkpoints).map(([name, step]) => [step as number, name]))
  const { spec } = await trainSmall(context, {
    ...{ corpus, seed, steps, config },
    visit: {
      at: [...names.keys()],
      async with(params, step, spec) {
        using model = new Model({ engine: context.engine, spec, params })
        const { own, shuffled } = await measure(model, corpus.heldOut, seed)
        found[names.get(step)!] = own
        if (step === steps) found['trained, tokens by lot'] = shuffled
      },
    },
  })
  context.note(`trained ${spec.layers} layers`)
  return found
}

export default experiment({
  id: 'next-token-law',
  paper: 106,
  title: 'The law of equi-learning: log residual of the next token by layer',
  claim:
    'In trained language models the share of the next token that a linear prediction from a layer leaves unexplained falls by the same factor with each layer.',
  setting: `Llamas of ${layers} layers, width ${width} and 1024 tokens, trained for ${steps} steps of 16 rows of ${length} tokens, and the same before training and after 30 and 100 steps (the paper: twenty open models of 12 to 60 layers, and Pythia over its training). Least squares, with a constant, from the normalised residual stream to the number of the next token, on ${rows} rows of ${length} tokens of held-out stories, measured on the same rows as in the paper, and on as many others ('held-out'). 'correlation' is Pearson's of log residual and layer, without the embedding; 'decay' the factor of a layer. 'tokens by lot' numbers the tokens at random: numbers of a byte-pair vocabulary go by frequency. 'bundled' is the model that comes with glossa, where only the rows change with the seed. Six seeds, since the correlation of untrained layers is anything from -1 to 1: with three the interval was wider than the difference.`,
  model: `Llama, ${layers} layers of width ${width}, 0.5M parameters; ${describeModel(defaultModel())}`,
  models: [defaultModel()],
  data: 'TinyStories',
  baseline: 'untrained',
  metrics: {
    correlation: { better: 'lower' },
    decay: { better: 'lower' },
    'last to first': { better: 'lower' },
    'held-out correlation': { better: 'lower' },
    'held-out last to first': { better: 'lower' },
  },
  version: 2,
  seeds: [0, 1, 2, 3, 4, 5],
  async run(context) {
    const corpus = once(() => stories(context, undefined, undefined, 2500))
    const probed = once(() => openProbed(context))
    for (const seed of context.seeds) {
      const trained = once(async () => train(context, await corpus(), seed))
      for (const name of [...Object.keys(checkpoints), 'trained, tokens by lot'])
        await context.arm(name, seed, async () => (await trained())[name]!)
      await context.arm('bundled', seed, async () => {
        const { model, heldOut } = await probed()
        return (await measure(model, heldOut, seed)).own
      })
    }
  },
  plot: (all) =>
    lines(
      [...new Set(all.list.map(({ name }) => name))].map((name) => ({
        name,
        points: all.list
          .filter((row) => row.name === name && row.metric.startsWith('residual, layer'))
          .map(({ mean }, i) => ({ x: i + 1, y: mean })),
      })),
      { title: 'What a layer leaves unpredicted of the next token', x: 'layer', y: 'residual', logY: true },
    ),
  judge(all) {
    const trained = all.mean('trained', 'correlation')
    const against = all.difference('trained', 'untrained', 'correlation')
    const below = -against.mean > against.half
    const values = (name: string, metric: string): string => all.mean(name, metric).toFixed(3)
    return {
      verdict:
        trained <= -0.95 && below ? 'reproduced' : trained <= -0.8 && below ? 'partly' : 'not at this scale',
      reason: `Correlation ${values('untrained', 'correlation')} untrained, ${values('step 30', 'correlation')} after 30 steps, ${values('step 100', 'correlation')} after 100, ${values('trained', 'correlation')} after ${steps}: ${signed(against)} against untrained (95 % interval of ${all.at('trained', 'correlation').n} seeds); on other tokens ${values('trained', 'held-out correlation')}. The decay of a layer is ${values('trained', 'decay')}, and the last layer leaves ${values('trained', 'last to first')} of what the first does (untrained ${values('untrained', 'last to first')}). With tokens numbered by lot ${values('trained, tokens by lot', 'correlation')}; the bundled model ${values('bundled', 'correlation')}, decay ${values('bundled', 'decay')}. Asked for: at most -0.95, and below untrained beyond the interval; 'partly' is at most -0.8.`,
    }
  },
})
