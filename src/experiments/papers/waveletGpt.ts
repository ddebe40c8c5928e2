/** WaveletGPT (paper 11): do moving averages behind each block make a small character model learn in fewer steps? */
import { waveletGpt } from '../../model/architectures/waveletGpt.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import { openText } from '../../train/data/text.ts'
import { nextToken } from '../../train/index.ts'
import { type ExperimentContext, experiment } from '../experiment.ts'
import { type Corpus, once, smallConfig, storyFiles, trainSmall } from '../small.ts'

const steps = 480
const every = 40
const batch = 8
const length = 128
const share = 0.5
const largest = 128

/** Stories as text8 is written: the letters a to z and single spaces, 27 characters. */
async function characters({ data }: ExperimentContext): Promise<Pick<Corpus, 'learned' | 'heldOut'>> {
  const rows = await openText(data(storyFiles[0]))
  const text = async (from: number, to: number): Promise<Uint16Array> => {
    const parts: string[] = []
    for (let i = from; i < to; i++) parts.push(((await rows.at(i)) as { text: string }).text)
    const plain = parts
      .join(' ')
      .toLowerCase()
      .replace(/[^a-z]+/g, ' ')
    return Uint16Array.from(plain, (letter) => (letter === ' ' ? 0 : letter.charCodeAt(0) - 96))
  }
  return { learned: await text(0, 1500), heldOut: await text(rows.length - 24, rows.length) }
}

export default experiment({
  id: 'wavelet-gpt',
  paper: 11,
  title: 'WaveletGPT: moving averages behind each block',
  claim:
    'Without any parameters more, causal Haar averages on half of the dimensions behind each block bring a GPT to the same loss in almost half of the steps.',
  setting: `Two equal character models from scratch, ${steps} steps of ${batch} rows of ${length} characters, constant learning rate after the warm-up (as long as it decays, steps to a loss cannot be compared); windows of 1 to ${largest} on ${100 * share} % of the dimensions. 'share of steps' is the part of the ${steps} steps after which held-out loss is the baseline's final one of the same seed, interpolated between measurements every ${every} steps; 1 where it is not reached. The paper has 10 layers, a context of 512 and text8. All arms together take about 2.5 minutes on one core.`,
  model: 'Llama, 4 layers of width 64, 0.2M parameters',
  data: 'TinyStories as a to z and spaces (27 characters)',
  baseline: 'plain',
  metrics: {
    'share of steps': { better: 'lower' },
    loss: { better: 'lower', unit: 'nats a character' },
  },
  version: 1,
  seeds: [0, 1, 2],
  async run(context) {
    const open = once(() => characters(context))
    const edits = {
      plain: undefined,
      wavelet: (spec: DecoderSpec) => waveletGpt(spec, { share, largest }),
    } as const
    for (const seed of context.seeds) {
      let goal: number | undefined
      for (const arm of ['plain', 'wavelet'] as const) {
        const metrics = await context.arm(arm, seed, async () => {
          const edit = edits[arm]
          const objective = (spec: DecoderSpec) => nextToken(spec, edit ? { edit: edit(spec) } : {})
          const { curve, heldOutLoss, cpuSeconds } = await trainSmall(context, {
            corpus: await open(),
            seed,
            steps,
            batch,
            length,
            config: smallConfig(27, { hidden_size: 64, intermediate_size: 172 }),
            schedule: { kind: 'constant', warmup: every },
            objective,
            measured: objective,
            measureAt: Array.from({ length: steps / every - 1 }, (_, i) => (i + 1) * every),
          })
          return {
            'share of steps': stepAt(curve, goal ?? heldOutLoss) / steps,
            loss: heldOutLoss,
            'CPU seconds': cpuSeconds,
          }
        })
        goal ??= metrics.loss
      }
    }
  },
  judge(rows) {
    const share = rows.difference('wavelet', 'plain', 'share of steps')
    const loss = rows.difference('wavelet', 'plain', 'loss')
    const at = rows.mean('wavelet', 'share of steps')
    const sooner = at < 0.9 && -share.mean > share.half
    const better = loss.mean < 0 && -loss.mean > loss.half
    return {
      verdict:
        sooner && better && at < 0.67 ? 'reproduced' : sooner || better ? 'partly' : 'not at this scale',
      reason: `The baseline's final loss is reached after ${(100 * at).toFixed(0)} ± ${(100 * share.half).toFixed(0)} % of its steps (95 % interval of ${rows.at('wavelet', 'loss').n} seeds); final loss ${rows.mean('wavelet', 'loss').toFixed(4)} against ${rows.mean('plain', 'loss').toFixed(4)} nats a character, ${loss.mean.toFixed(4)} ± ${loss.half.toFixed(4)}. Asked for: at most 67 % of the steps and a lower final loss, both beyond the interval; 'partly' is 90 % of the steps or a lower loss.`,
    }
  },
})

/** The step at which a falling curve first meets a loss, between two measurements on a straight line. */
export function stepAt(
  curve: readonly { readonly step: number; readonly loss: number }[],
  goal: number,
): number {
  const at = curve.findIndex(({ loss }) => loss <= goal)
  if (at < 0) return curve.at(-1)!.step
  const [before, after] = [curve[at - 1], curve[at]!]
  if (!before) return after.step
  return before.step + ((before.loss - goal) / (before.loss - after.loss)) * (after.step - before.step)
}
