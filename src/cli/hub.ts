/** Models of the Hugging Face hub on the command line: ids where paths go, progress, Ctrl-C. */
import { existsSync } from 'node:fs'
import {
  bundledModel,
  findCached,
  type HubSettings,
  hubSettings,
  type ModelReference,
  type Pulled,
  parseReference,
  pull,
  referenceText,
} from '../store/index.ts'
import { clearStatus, Interrupted, interruptible, status } from './terminal.ts'
import { TransferBar } from './transferBar.ts'

/** Pulls a model and shows how far it is. */
export function pullModel(reference: ModelReference, settings: HubSettings, file?: string): Promise<Pulled> {
  return interruptible(async (signal) => {
    const name = referenceText(reference)
    const bar = settings.progressBars ? new TransferBar(name) : undefined
    if (bar) status(`asking ${settings.endpoint} for ${name} ...`)
    try {
      return await pull(reference, settings, {
        file,
        signal,
        onProgress: (done, total) => bar?.update(done, total),
      })
    } catch (error) {
      if (!signal.aborted) throw error
      throw new Interrupted('stopped; what has come is kept: the same command goes on from there')
    } finally {
      clearStatus()
    }
  })
}

/**
 * The path of a model: one that exists, one that comes with glossa, or a model of the hub, from the cache if it is
 * whole there.
 */
export async function locateModel(name: string): Promise<string> {
  if (existsSync(name)) return name
  const own = bundledModel(name)
  if (own !== undefined) return own
  const reference = parseReference(name)
  if (reference === undefined) return name
  const settings = hubSettings(process.env)
  const cached = findCached(reference, settings)
  if ('path' in cached) return cached.path
  if (settings.offline)
    throw new Error(`${cached.problem}, and HF_HUB_OFFLINE is set: unset it, then glossa pull ${name}`)
  try {
    return (await pullModel(reference, settings)).path
  } catch (error) {
    if (error instanceof Interrupted) throw error
    throw new Error(`there is no file or folder ${name}, and from the hub: ${(error as Error).message}`)
  }
}
