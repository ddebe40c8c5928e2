/** Runs the real command line as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shared } from '../shared.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const built = join(root, 'dist/cli/main.js')

/** The built program where it is not older than its sources, which `npm test` sees to; otherwise the sources. */
function program(): string[] {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  const newest = Math.max(...sources.map((name) => statSync(join(root, 'src', name)).mtimeMs))
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return [built]
  return ['--import', 'tsx', join(root, 'src/cli/main.ts')]
}
export const command = program()

/** Starts `glossa` with these arguments, and variables beside those that there are, in the repository's root. */
export function start(args: readonly string[], variables: Record<string, string> = {}): ChildProcess {
  const env = { ...process.env, ...variables }
  return spawn(process.execPath, [...command, ...args], { cwd: root, env, stdio: ['pipe', 'pipe', 'pipe'] })
}

export interface Result {
  readonly stdout: string
  readonly stderr: string
  /** Exit code, or the signal that ended the process. */
  readonly code: number | string | null
}

/** What becomes of a started process; `input` is its stdin. */
export async function finish(child: ChildProcess, input = ''): Promise<Result> {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout!.on('data', (data: Buffer) => stdout.push(data))
  child.stderr!.on('data', (data: Buffer) => stderr.push(data))
  child.stdin!.end(input)
  const code = await new Promise<number | string | null>((resolve) =>
    child.on('close', (status, signal) => resolve(status ?? signal)),
  )
  return { stdout: `${Buffer.concat(stdout)}`, stderr: `${Buffer.concat(stderr)}`, code }
}

export const glossa = (...args: readonly string[]): Promise<Result> => finish(start(args))

/** Runs a command that must succeed and print one JSON value, and nothing else. */
export async function json<T = Record<string, unknown>>(...args: readonly string[]): Promise<T> {
  const { stdout, stderr, code } = await glossa(...args, '--json')
  if (code !== 0 || stderr !== '') throw new Error(`glossa ${args.join(' ')}: exit ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

/** Karpathy's story model of 260 thousand parameters, in three formats. */
const stories = (file: string): string | undefined => shared(`assets/models/stories260K/${file}`)
export const storiesGguf = stories('stories260Ktok512.gguf')
export const storiesBin = stories('checkpoint_legacy.bin')
export const storiesBin1 = stories('checkpoint_v1.bin')

export const llamaTiny = 'test/fixtures/llama-tiny'
export const llamaTiny16 = 'test/fixtures/llama-tiny-16'
export const gpt2Tiny = 'test/fixtures/gpt2-tiny'
