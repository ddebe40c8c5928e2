/** Patience with the network: pauses that grow, and a limit to silence. */
import { setTimeout as pause } from 'node:timers/promises'
import { HubError } from './errors.ts'

/** Failures in a row without any progress, after which it is given up. */
const limit = 5
/** Longer than this nobody is kept waiting, whatever the hub says. */
const longestPauseMs = 30_000

export interface Patience {
  readonly retryMs: number
  readonly signal?: AbortSignal | undefined
  /** How far the attempts have come together: those that come further are not counted as failures. */
  readonly progress?: (() => number) | undefined
}

/** Attempts something until it succeeds or fails for a reason that will not pass. */
export async function persist<T>(
  attempt: () => Promise<T>,
  { retryMs, signal, progress = () => 0 }: Patience,
): Promise<T> {
  let failures = 0
  let reached = progress()
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof HubError) || !error.passing) throw error
      failures = progress() > reached ? 1 : failures + 1
      reached = Math.max(reached, progress())
      if (failures > limit) throw error
      const wait = error.waitMs ?? retryMs * 2 ** (failures - 1) * (1 + Math.random() / 4)
      if (wait > longestPauseMs) throw error
      await pause(wait, undefined, signal && { signal })
    }
  }
}

/** A signal that is aborted when another one is, or when nothing has been heard for too long. */
export class Watchdog {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #outer: AbortSignal | undefined
  readonly #stop = (): void => this.#controller.abort(this.#outer?.reason)

  constructor(ms: number, outer?: AbortSignal) {
    this.#outer = outer
    this.#timer = setTimeout(() => {
      this.#controller.abort(
        new HubError(`the hub has sent nothing for ${ms / 1000} s: check the connection`, { passing: true }),
      )
    }, ms)
    outer?.addEventListener('abort', this.#stop)
    if (outer?.aborted) this.#stop()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  heard(): void {
    this.#timer.refresh()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#stop)
  }
}
