/** What the verbs share of the terminal: streams, colour, JSON, tables, progress, interruption. */
import type { WriteStream } from 'node:tty'

type Out = NodeJS.WriteStream & Partial<WriteStream>

/** Escapes are for people: not for pipes, and not where NO_COLOR asks for none (no-color.org). */
const styled = (stream: Out): boolean =>
  stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'

export const dim = (text: string, stream: Out = process.stdout): string =>
  styled(stream) && text ? `\x1b[2m${text}\x1b[22m` : text

/** Text that stands out: bold and reversed on a terminal, in guillemets elsewhere. */
export const strong = (text: string, stream: Out = process.stdout): string =>
  styled(stream) ? `\x1b[1;7m${text}\x1b[27;22m` : `«${text}»`

type Rgb = readonly [red: number, green: number, blue: number]

/** Text on a coloured ground, where escapes are shown. */
export function coloured(text: string, ground: Rgb, ink: Rgb, stream: Out = process.stdout): string {
  if (!styled(stream)) return text
  const code = (kind: 38 | 48, colour: Rgb): string => `\x1b[${kind};2;${colour.map(Math.round).join(';')}m`
  return `${code(48, ground)}${code(38, ink)}${text}\x1b[39;49m`
}

/** Whether the reader of stdout has gone: `glossa generate ... | head -1`. */
let readerGone = false
/** Whether a line that will go away again is shown. */
let passing = false

/** Characters that a status may have: a line that wraps could not be taken back. */
export const lineWidth = (): number => (process.stderr.columns || 80) - 1

/** Shows what is going on, on a terminal only and until something else is written. */
export function status(text: string): void {
  if (!process.stderr.isTTY) return
  process.stderr.write(`\r\x1b[K${dim(text.slice(0, lineWidth()), process.stderr)}`)
  passing = true
}

export function clearStatus(): void {
  if (passing) process.stderr.write('\r\x1b[K')
  passing = false
}

export function print(text: string): void {
  clearStatus()
  process.stdout.write(text)
}

/** Text of a model on a terminal: its control characters could do anything there. */
export const printable = (text: string, stream: Out = process.stdout): string =>
  stream.isTTY ? text.replace(/[^\P{Cc}\n\t]/gu, '\ufffd') : text

/** A line on stderr: what is about the run, and not its result. */
export function note(text: string): void {
  clearStatus()
  if (!readerGone) process.stderr.write(`${dim(text, process.stderr)}\n`)
}

/** Characters that are written at once, and numbers that are made into one string: its length is limited. */
const chunk = 1 << 16

/**
 * Writes one line of JSON. Numbers that JSON does not have, NaN and the infinities, become null. Lists of
 * numbers may be typed, and of any length.
 */
export function printJson(value: unknown): void {
  let pending = ''
  for (const text of jsonText(value)) {
    pending += text
    if (pending.length < chunk) continue
    print(pending)
    pending = ''
  }
  print(`${pending}\n`)
}

function* jsonText(value: unknown): Generator<string> {
  if (ArrayBuffer.isView(value)) {
    const numbers = value as Float32Array
    yield '['
    for (let at = 0; at < numbers.length; at += chunk) {
      const slice = JSON.stringify(Array.from(numbers.subarray(at, at + chunk), Number)).slice(1, -1)
      yield at > 0 ? `,${slice}` : slice
    }
    yield ']'
  } else if (Array.isArray(value)) {
    yield '['
    for (const [i, item] of value.entries()) {
      if (i > 0) yield ','
      yield* jsonText(item)
    }
    yield ']'
  } else if (typeof value === 'object' && value !== null) {
    let before = '{'
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue
      yield `${before}${JSON.stringify(key)}:`
      yield* jsonText(item)
      before = ','
    }
    yield before === '{' ? '{}' : '}'
  } else yield JSON.stringify(value)
}

/** Rows as text in columns; `right` are columns of numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** A number for people: about four digits. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return `${value}`
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3)
  return value.toLocaleString('en-US', {
    maximumFractionDigits: size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4,
  })
}

export const bytes = (count: number): string =>
  count >= 1e9
    ? `${short(count / 1e9)} GB`
    : count >= 1e6
      ? `${short(count / 1e6)} MB`
      : `${short(count / 1e3)} kB`

/** Names in a sentence. */
export const list = (names: readonly string[]): string => names.join(', ')

/** Shows how far long work is; nothing for what takes under two seconds. */
export class Progress {
  readonly #label: string
  readonly #total: number
  readonly #start = performance.now()

  constructor(label: string, total: number) {
    this.#label = label
    this.#total = total
  }

  update(done: number): void {
    const seconds = (performance.now() - this.#start) / 1000
    if (seconds < 2) return
    const left = (seconds / done) * (this.#total - done)
    const percent = Math.floor((100 * done) / this.#total)
    status(`${this.#label} ${done}/${this.#total} (${percent} %), ${Math.ceil(left)} s left`)
  }
}

/** Whether anybody reads stdout. */
export const hasReader = (): boolean => !readerGone

const whenGone = new Set<() => void>()

/** Without a reader there is nobody to tell: the work stops, without a message. */
export function watchStdout(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    readerGone = true
    for (const stop of whenGone) stop()
  })
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

/**
 * Runs work that Ctrl-C stops between two of its steps instead of ending the process. A second Ctrl-C ends
 * it at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = (): void => controller.abort()
  process.once('SIGINT', stop)
  whenGone.add(stop)
  if (readerGone) stop()
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', stop)
    whenGone.delete(stop)
  }
}

/** Work that Ctrl-C has stopped, and that has no result. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** The exit code of work that a signal may have stopped: 130 is Ctrl-C, as shells report it. */
export const exitCode = (signal: AbortSignal): number => (signal.aborted && !readerGone ? 130 : 0)
