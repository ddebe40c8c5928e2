/** Speed on this machine, against peers in the same run, and as a share of what the machine can do. */
import * as z from 'zod'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { measureMachine } from './bench/machine.ts'
import { parts, type Row } from './bench/parts.ts'
import { verb } from './verb.ts'

const names = Object.keys(parts) as (keyof typeof parts)[]
/** What does not depend on the processor alone. */
const onDevice: readonly string[] = ['generation', 'training']

export default verb({
  name: 'bench',
  summary: 'Measure speed here, against peers and against the limits of the machine',
  options: z.strictObject({
    only: z
      .array(z.enum(names as [string, ...string[]]))
      .optional()
      .describe(`Parts to run: ${names.join(', ')}`),
    peers: z
      .boolean()
      .default(false)
      .describe('Run the peers of bench/peers in turns with us (npm install there first)'),
    device: z.string().default('cpu').describe('Execution provider: cpu, webgpu ...'),
    tiny: z
      .boolean()
      .default(false)
      .describe('Small shapes: to see that everything runs, not how fast it is'),
    rounds: z.int().positive().default(5).describe('Pairs of runs; medians are reported'),
    threads: z.int().positive().optional().describe('Threads of one operation; all cores by default'),
    json: z.boolean().default(false).describe('One JSON object on stdout, and nothing else'),
  }),
  flags: { only: { value: 'PART' }, device: { value: 'NAME' } },
  notes: `Models are random checkpoints of published shapes; speed does not depend on what weights say.
Share: decode against the memory bandwidth measured first, products against the fastest f32 product measured first.
On another device than the processor: generation and training, and with --peers PyTorch on CUDA beside the others.
Ratio: how many times faster than the peer, by pairs of neighbouring runs (median, least to greatest).`,
  async run({ only, peers, device, tiny, rounds, threads, json }) {
    const runtime = nodeRuntime({ provider: device, ...(threads !== undefined && { threads }) })
    await using engine = new Engine(runtime)
    const note = (text: string): void => {
      if (!json) process.stderr.write(`${text}\n`)
    }
    note('measuring the machine ...')
    const machine = await measureMachine(engine, tiny)
    note(
      `${device === 'cpu' ? `${machine.processor}, ${machine.threads} threads` : device}: ${machine.bandwidth.toFixed(1)} GB/s read, ${machine.peak.toFixed(0)} GFLOP/s f32`,
    )
    const rows: Row[] = []
    for (const name of names) {
      if (!(only ?? (device === 'cpu' ? names : onDevice)).includes(name)) continue
      note(`${name} ...`)
      for (const row of await parts[name]({ engine, machine, peers, tiny, rounds, note })) {
        rows.push(row)
        if (!json) process.stdout.write(`${format(row)}\n`)
      }
    }
    if (json) process.stdout.write(`${JSON.stringify({ device, machine, rows })}\n`)
    return 0
  },
})

const digits = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toFixed(3)

function format({ name, value, unit, share, peers }: Row): string {
  const own = `${name.padEnd(44)} ${digits(value).padStart(9)} ${unit.padEnd(9)}`
  const limit = share ? ` ${(100 * share.of).toFixed(0).padStart(3)} % of ${share.what}` : ''
  const against = peers.map((peer) =>
    'missing' in peer
      ? `\n    ${peer.name}: ${peer.missing}`
      : `\n    ${peer.name}: ${digits(peer.value)} ${unit}, ratio ${peer.ratio.toFixed(2)} (${peer.low.toFixed(2)} to ${peer.high.toFixed(2)})`,
  )
  return own + limit + against.join('')
}
