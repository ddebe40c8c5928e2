/** Where the time of a program goes: kernel times from ONNX Runtime's profiler, by operator. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JitOptions, trace } from '../array/jit.ts'
import { leaves } from '../array/tree.ts'
import type { CompileOptions, Engine } from './engine.ts'

/** One kind of ONNX operator, in one kind of operation of ours. */
export interface ProfileRow {
  /** The operation that was traced; 'runtime' for what ONNX Runtime has added itself. */
  readonly operation: string
  /** The operator that ran, after ONNX Runtime's own fusions. */
  readonly op: string
  /** Per run. */
  readonly calls: number
  /** Milliseconds per run. */
  readonly ms: number
  /** Of the time of all operators. */
  readonly share: number
}

export interface ProfileOptions extends JitOptions, Omit<CompileOptions, 'name' | 'profile'> {
  /** Runs that are counted; 5 by default. */
  readonly runs?: number
  /** Runs before those; 1 by default. */
  readonly warmup?: number
}

/** Compiles and runs `f` on concrete arguments and gives the time of its operators, longest first. */
export async function profile<A extends readonly unknown[], R>(
  engine: Engine,
  f: (...args: A) => R,
  args: A,
  options: ProfileOptions = {},
): Promise<ProfileRow[]> {
  const { runs = 5, warmup = 1, ...rest } = options
  if (!Number.isInteger(runs) || runs < 1) throw new RangeError(`profile: runs must be positive, got ${runs}`)
  const { graph } = trace(f, args, rest)
  const folder = await mkdtemp(join(tmpdir(), 'glossa-profile-'))
  try {
    const name = options.name ?? f.name
    const program = await engine.compile(graph, name, { ...rest, profile: join(folder, 'run') })
    try {
      const values = leaves(args).map(([, leaf]) => leaf)
      for (let run = 0; run < warmup + runs; run++)
        for (const output of await program.run(values)) if (!values.includes(output)) output.dispose()
      program.endProfiling()
    } finally {
      program.dispose()
    }
    const [file] = await readdir(folder)
    if (file === undefined) throw new Error('ONNX Runtime has written no profile')
    return aggregate(JSON.parse(await readFile(join(folder, file), 'utf8')), runs, warmup)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** An event of ONNX Runtime's profile, in Chrome's trace format. */
interface TraceEvent {
  readonly cat?: string
  readonly name?: string
  /** Microseconds. */
  readonly dur?: number
  readonly args?: { readonly op_name?: string }
}

const kernel = '_kernel_time'

function aggregate(events: readonly TraceEvent[], runs: number, warmup: number): ProfileRow[] {
  const seen = new Map<string, number>()
  const sums = new Map<string, { operation: string; op: string; calls: number; us: number }>()
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || !name?.endsWith(kernel) || dur === undefined) continue
    // Every node runs once in a run.
    const times = seen.get(name) ?? 0
    seen.set(name, times + 1)
    if (times < warmup) continue
    // Our nodes are called operation/Op/number.
    const [scope, ...more] = name.slice(0, -kernel.length).split('/')
    const operation = scope && more.length > 0 ? scope : 'runtime'
    const op = args?.op_name ?? 'unknown'
    const key = `${operation} ${op}`
    const sum = sums.get(key) ?? { operation, op, calls: 0, us: 0 }
    sums.set(key, { ...sum, calls: sum.calls + 1, us: sum.us + dur })
  }
  const total = [...sums.values()].reduce((sum, { us }) => sum + us, 0)
  return [...sums.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ operation, op, calls, us }) => ({
      operation,
      op,
      calls: calls / runs,
      ms: us / runs / 1000,
      share: total > 0 ? us / total : 0,
    }))
}

/** The rows as a text table. */
export function formatProfile(rows: readonly ProfileRow[]): string {
  const total = rows.reduce((sum, { ms }) => sum + ms, 0)
  const calls = rows.reduce((sum, row) => sum + row.calls, 0)
  const lines = [
    ['op', 'operation', 'calls', 'ms', 'share'],
    ...rows.map((row) => [
      row.op,
      row.operation,
      `${row.calls}`,
      row.ms.toFixed(3),
      `${(100 * row.share).toFixed(1)} %`,
    ]),
    ['all', '', `${calls}`, total.toFixed(3), ''],
  ]
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
