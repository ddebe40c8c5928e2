/** Other software, measured in the same run: child processes in `bench/peers` that take JSON commands. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../../../bench/peers/', import.meta.url))

/** A peer that cannot run here: not installed, or failed; the message says what to do. */
export class PeerError extends Error {
  override name = 'PeerError'
}

export class Peer {
  readonly #process: ChildProcess
  readonly #replies: AsyncIterator<string>
  readonly name: string

  private constructor(name: string, child: ChildProcess) {
    this.name = name
    this.#process = child
    this.#replies = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  }

  /** Starts `bench/peers/<script>`. */
  static async start(script: string, args: readonly string[]): Promise<Peer> {
    if (!existsSync(folder)) throw new PeerError('the peers are part of the repository, not of the package')
    const child = spawn(process.execPath, [script, ...args], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    const peer = new Peer(script.replace(/\.mjs$/, ''), child)
    await peer.ask({ cmd: 'info' })
    return peer
  }

  async ask<T>(command: object): Promise<T> {
    this.#process.stdin!.write(`${JSON.stringify(command)}\n`)
    const { value, done } = await this.#replies.next()
    if (done) throw new PeerError(`${this.name} ended without an answer`)
    const reply = JSON.parse(value) as T & { error?: string }
    if (reply.error) throw new PeerError(`${this.name}: ${reply.error}`)
    return reply
  }

  stop(): void {
    this.#process.kill()
  }

  [Symbol.dispose](): void {
    this.stop()
  }
}
