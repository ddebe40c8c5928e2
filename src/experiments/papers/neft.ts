/** NeFT (paper 199): is tuning the neurons that a first tuning turns furthest as good as tuning everything? */
import { leaves } from '../../array/index.ts'
import { load } from '../../model/load.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { loadTokenizer } from '../../text/index.ts'
import { type AdapterBase, lora, overFrozen } from '../../train/adapters/index.ts'
import { neuronTrainable, randomNeurons, turnedNeurons } from '../../train/adapters/neft.ts'
import {
  adamw,
  makeSchedule,
  nextToken,
  PackedBatches,
  type Trainable,
  Trainer,
  wholly,
} from '../../train/index.ts'
import { type ExperimentContext, experiment, type Metrics } from '../experiment.ts'
import { type Corpus, heldOutLoss, once, ownFile, stories, storyFiles } from '../small.ts'

const steps = 40
const batch = 4
const length = 128
const rates = { everything: 1e-3, neurons: 3e-3 }
const shares = [0.03, 0.06, 0.12] as const
const percent = (share: number): string => `${Math.round(100 * share)} %`

interface Base {
  readonly model: AdapterBase
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  readonly old: Corpus
  readonly fresh: Corpus
}

async function open(context: ExperimentContext): Promise<Base> {
  const model = load(ownFile('models/starter'))
  const { spec, params } = model
  const tokenizer = loadTokenizer(ownFile('models/starter'))
  return {
    model,
    spec,
    params,
    old: await stories(context, tokenizer, [storyFiles[0]], 0),
    fresh: await stories(context, tokenizer, ['text/hcandersenr/hcandersenr.txt.gz'], 60),
  }
}

/** Tunes a part of the model, or all of it, on the new register. */
async function tune<P, F>(
  { engine, signal }: ExperimentContext,
  { spec, fresh }: Base,
  model: Trainable<P, F, DecoderParams>,
  seed: number,
  rate: number,
): Promise<DecoderParams> {
  const factor = makeSchedule({ kind: 'cosine', warmup: 4, steps })
  using trainer = new Trainer({
    engine,
    model,
    objective: nextToken(spec),
    batches: new PackedBatches({ sources: [{ tokens: fresh.learned }], batch, length, seed }),
    optimizer: adamw({ beta2: 0.95 }),
    rate: (step) => rate * factor(step),
    clip: 1,
    seed,
  })
  for (let i = 0; i < steps; i++) {
    signal?.throwIfAborted()
    await trainer.next()
  }
  const assemble = engine.jit((params: P, frozen: F) => model.assemble(params, frozen), { name: 'assemble' })
  return assemble(trainer.params, model.frozen)
}

export default experiment({
  id: 'neft',
  paper: 199,
  title: 'NeFT: tuning only the neurons that turn furthest',
  claim:
    'Training only the few percent of neurons whose weights a reference fine-tuning turns furthest does better than full fine-tuning.',
  setting: `The starter model (TinyStories) tuned on tales of H. C. Andersen, ${steps} steps of ${batch} rows of ${length} tokens, AdamW, cosine; learning rate ${rates.everything} for everything and ${rates.neurons} for neurons (not tuned). The reference run of NeFT is the full tuning of the same seed, which is not counted as its budget. Neurons are rows of the matrices of attention and MLP; embeddings and norms stay. 'loss' is on held-out tales, 'forgetting' what is lost on held-out TinyStories. LoRA has rank 4, about the parameters of 6 %, and the neurons' rate. The paper tunes Llama 2 7B on translation and summaries. All arms together take about 4 minutes on one core.`,
  model: 'models/starter: Llama, 5 layers of width 128, 1M parameters',
  data: 'H. C. Andersen in English (60 tales, the last 2 % held out), TinyStories',
  baseline: 'everything',
  metrics: {
    loss: { better: 'lower', unit: 'nats a token' },
    forgetting: { better: 'lower', unit: 'nats a token' },
    parameters: { better: 'lower' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const opened = once(() => open(context))
    const measured = async (params: DecoderParams, parameters: number): Promise<Metrics> => {
      const { spec, old, fresh, params: before } = await opened()
      const loss = (of: DecoderParams, corpus: Corpus) => heldOutLoss(context, spec, of, corpus)
      return {
        loss: await loss(params, fresh),
        forgetting: (await loss(params, old)) - (await loss(before, old)),
        parameters,
      }
    }
    for (const seed of context.seeds) {
      const everything = once(async () => {
        const base = await opened()
        return tune(context, base, wholly(base.params), seed, rates.everything)
      })
      await context.arm('nothing', seed, async () => measured((await opened()).params, 0))
      await context.arm('everything', seed, async () => {
        const { params } = await opened()
        return measured(await everything(), numbersOf(params))
      })
      for (const share of shares)
        for (const kind of ['turned', 'random'] as const)
          await context.arm(`${kind} ${percent(share)}`, seed, async () => {
            const base = await opened()
            const { spec, params } = base
            const neurons =
              kind === 'turned'
                ? turnedNeurons(spec, params, await everything(), { share })
                : randomNeurons(spec, params, { share }, seed)
            const model = neuronTrainable(spec, params, neurons)
            return measured(await tune(context, base, model, seed, rates.neurons), numbersOf(model.params))
          })
      // Of rank 4 in all matrices: about as many parameters as 6 % of the neurons.
      await context.arm('LoRA', seed, async () => {
        const base = await opened()
        const adapter = lora(base.model, { rank: 4, alpha: 8, targets: 'all-linear', seed })
        const model = overFrozen(base.params, adapter)
        return measured(await tune(context, base, model, seed, rates.neurons), numbersOf(model.params))
      })
    }
  },
  judge(rows) {
    const named = shares.map((share) => ({
      share,
      full: rows.difference(`turned ${percent(share)}`, 'everything', 'loss'),
      lot: rows.difference(`turned ${percent(share)}`, `random ${percent(share)}`, 'loss'),
      forgotten: rows.mean(`turned ${percent(share)}`, 'forgetting'),
    }))
    const below = ({ mean, half }: { mean: number; half: number }): boolean => mean < 0 && -mean > half
    const best = named.reduce((a, b) => (b.full.mean < a.full.mean ? b : a))
    const matches = best.full.mean < 0.01
    const chosen = named.filter(({ lot }) => below(lot)).length
    const signed = ({ mean, half }: { mean: number; half: number }): string =>
      `${mean >= 0 ? '+' : ''}${mean.toFixed(3)} ± ${half.toFixed(3)}`
    return {
      verdict:
        matches && chosen === shares.length
          ? 'reproduced'
          : matches || chosen > 0
            ? 'partly'
            : 'not at this scale',
      reason: `${named.map(({ share, full, lot }) => `${percent(share)} of the neurons: ${signed(full)} nats against full tuning, ${signed(lot)} against neurons by lot`).join('; ')} (95 % intervals of ${rows.at('everything', 'loss').n} seeds). LoRA: ${rows.mean('LoRA', 'loss').toFixed(3)} nats, full tuning ${rows.mean('everything', 'loss').toFixed(3)}. Forgetting: full ${rows.mean('everything', 'forgetting').toFixed(3)}, ${named.map(({ share, forgotten }) => `${percent(share)} ${forgotten.toFixed(3)}`).join(', ')} nats. Asked for: the best share at most 0.01 nats behind full tuning, and every share better than neurons by lot beyond the interval; 'partly' is one of the two, or some shares.`,
    }
  },
})

/** How many numbers a model has. */
const numbersOf = (params: unknown): number =>
  leaves(params).reduce((sum, [, { sizes }]) => sum + sizes.reduce((a, b) => a * b, 1), 0)
