/** The model card: everything in it is measured by the run that writes it. */
export interface Training {
  readonly command: string
  readonly parameters: number
  readonly vocabulary: number
  readonly context: number
  readonly stories: number
  readonly storyTokens: number
  readonly steps: number
  readonly batch: number
  readonly rate: number
  readonly minutes: number
  readonly cpuMinutes: number
  readonly cores: number
  readonly heldOut: number
  readonly bitsPerByte: number
  /** Step of the weights that were kept. */
  readonly best: number
  readonly curve: readonly CurvePoint[]
  readonly samples: readonly string[]
}

export interface CurvePoint {
  readonly step: number
  /** Mean of the steps since the last point, nats per token. */
  readonly loss: number
  /** On the held-out stories, where it was measured. */
  readonly bitsPerByte?: number
}

const millions = (count: number): string => `${(count / 1e6).toFixed(2)}M`

export function modelCard(run: Training): string {
  const seen = run.steps * run.batch * run.context
  const rows = run.curve.map(
    ({ step, loss, bitsPerByte }) => `| ${step} | ${loss.toFixed(3)} | ${bitsPerByte?.toFixed(4) ?? ''} |`,
  )
  return `# starter

A Llama of ${millions(run.parameters)} parameters that writes very simple English stories, trained by this repository
on ${run.cores} CPU cores in minutes. It stands in until the default models exist.

| | |
| --- | --- |
| command | \`${run.command}\` |
| data | TinyStories (Eldan and Li 2023), CDLA-Sharing-1.0: ${run.stories} stories, ${millions(run.storyTokens)} tokens |
| held out | the last 2 % of the stories of each file: ${run.heldOut} stories, never trained on |
| tokenizer | byte-level BPE of ${run.vocabulary} tokens, trained on the training stories |
| training | ${run.steps} steps of ${run.batch} x ${run.context} tokens: ${millions(seen)} tokens, ${(seen / run.storyTokens).toFixed(1)} passes; AdamW, peak rate ${run.rate}, warm-up and cosine decay |
| time | ${run.minutes.toFixed(1)} minutes on ${run.cores} shared cores, ${run.cpuMinutes.toFixed(1)} minutes of CPU time |
| held-out stories | **${run.bitsPerByte.toFixed(3)} bits per byte**, f16 weights as in the file |
| context | ${run.context} tokens: it has never seen a later position |

Held-out bits per byte are those of whole stories, in windows of ${run.context} tokens that overlap by half. The weights
are those of step ${run.best}, the best of the measurements below; as it was chosen by the same stories, the figure is
slightly in its favour.

| step | loss, nats per token | held-out bits per byte |
| ---: | ---: | ---: |
${rows.join('\n')}

Samples at temperature 0.8, seeds 1 to 5, not chosen:

${run.samples.map((text, i) => `**Seed ${i + 1}.** ${text}`).join('\n\n')}
`
}
