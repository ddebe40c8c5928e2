/** `glossa studio`: the pages of the workbench, in a browser. */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import * as z from 'zod'
import type { Serving } from '../serve/index.ts'
import { bundledModel, bundledModels } from '../store/index.ts'
import { startStudio } from '../studio/index.ts'
import { modelOptions } from './common.ts'
import { locateModel } from './hub.ts'
import { named, untilStopped } from './serve.ts'
import { note, print, printJson, status } from './terminal.ts'
import { verb } from './verb.ts'

const text = z.string().min(1)
const usual = 4747

export default verb({
  name: 'studio',
  summary: 'Open the studio: write, look inside, steer, train and compare in a browser',
  options: z.strictObject({
    model: z.array(text).optional().describe('Models, NAME=MODEL; those that come with glossa by default'),
    sae: z.array(text).optional().describe('SAEs; those of the default model by default'),
    port: z.int().min(0).max(65535).optional().describe('4747 by default, or any that is free'),
    folder: text.default('runs/studio').describe('Where steers and runs are kept'),
    results: text.default('results').describe('The folder of measured results'),
    open: z.boolean().default(true).describe('Open the browser'),
    threads: modelOptions.shape.threads,
    json: z.boolean().default(false).describe('The address as a JSON object on stdout'),
  }),
  flags: {
    model: { short: 'm', value: 'MODEL' },
    sae: { value: 'NAME=FOLDER' },
    folder: { value: 'FOLDER' },
    results: { value: 'FOLDER' },
  },
  notes: `The studio answers this machine alone. The server's routes, /v1/..., are there beside the pages. Ctrl-C ends it.`,
  async run({ model: given, sae: givenSaes, port, folder, results, open, threads, json }) {
    const models: Record<string, { path: string; threads?: number }> = {}
    const own = threads === undefined ? {} : { threads }
    if (given)
      for (const one of given) {
        const [name, value] = named(one, (path) => path.replace(/\/+$/, '').split('/').at(-1)!)
        models[name] = { path: await locateModel(value), ...own }
      }
    else for (const name of bundledModels()) models[name] = { path: bundledModel(name)!, ...own }
    const saes = givenSaes
      ? Object.fromEntries(givenSaes.map((one) => named(one, (path) => path.split('/').at(-1)!)))
      : bundledSaes()
    mkdirSync(folder, { recursive: true })
    status('starting ...')
    const start = (at: number): Promise<Serving> =>
      startStudio({
        ...{ models, saes, keep: 3, port: at, folder: resolve(folder), results: resolve(results) },
        batch: { slots: 8 },
      })
    // Another studio may be open.
    const studio = port === undefined ? await start(usual).catch(() => start(0)) : await start(port)
    if (json) printJson({ url: studio.url })
    else print(`${studio.url}\n`)
    if (open && process.stdout.isTTY) openBrowser(studio.url)
    note('Ctrl-C ends the studio')
    await untilStopped()
    await studio.close(1)
    return 0
  },
})

/** Folders of models/saes, by name. */
function bundledSaes(): Record<string, string> {
  const model = bundledModel('default')
  if (!model) return {}
  const folder = join(dirname(model), 'saes')
  try {
    return Object.fromEntries(
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => [name, join(folder, name)]),
    )
  } catch {
    return {}
  }
}

function openBrowser(url: string): void {
  const [command, args] =
    process.platform === 'darwin'
      ? ['open', [url]]
      : process.platform === 'win32'
        ? ['cmd', ['/c', 'start', '', url]]
        : ['xdg-open', [url]]
  // Where there is none, the address stands in the terminal.
  spawn(command as string, args as string[], { stdio: 'ignore', detached: true })
    .on('error', () => undefined)
    .unref()
}
