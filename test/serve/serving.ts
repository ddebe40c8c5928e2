/** A server for tests, over the models that the repository brings. */
import { spawn } from 'node:child_process'
import OpenAI from 'openai'
import { type ServeOptions, type Serving, serve } from '../../src/serve/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import { fixture } from '../reference.ts'

export const models = {
  tiny: { path: bundledModel('tiny')!, threads: 1 },
  small: { path: bundledModel('small')!, threads: 1 },
  bert: { path: fixture('families/minilm'), threads: 1 },
} as const

export const startServer = (options: Partial<ServeOptions> = {}): Promise<Serving> =>
  serve({ models, keep: 3, port: 0, batch: { slots: 32 }, ...options })

export const clientOf = ({ url }: Pick<Serving, 'url'>, apiKey = 'none'): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })

/** What a server has answered: read as it is expected to be. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is what is tested
export type Json = any

/** `glossa serve` as people start it, in a process of its own. */
export async function spawnServer(
  args: readonly string[],
): Promise<{ url: string; stop(): Promise<number | null> }> {
  const command = [
    '--import',
    'tsx',
    'src/cli/main.ts',
    'serve',
    '--port',
    '0',
    '--json',
    '--threads',
    '1',
    ...args,
  ]
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (text: Buffer) => resolve((JSON.parse(`${text}`) as { url: string }).url))
    child.once('exit', (code) => reject(new Error(`glossa serve ended with ${code}`)))
  })
  return {
    url,
    stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}
