/** `glossa pull`: a model from the Hugging Face hub into its cache. */
import * as z from 'zod'
import {
  findCached,
  type HubSettings,
  hubSettings,
  isRevision,
  type ModelReference,
  type Pulled,
  parseReference,
} from '../store/index.ts'
import { jsonOption } from './common.ts'
import { pullModel } from './hub.ts'
import { bytes, note, print, printJson } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

export default verb({
  name: 'pull',
  summary: 'Fetch a model from the Hugging Face hub',
  options: z.strictObject({
    model: z.string().min(1).describe('org/name, or org/name:Q4_0 for one of several .gguf files'),
    revision: z.string().min(1).optional().describe('A branch, a tag or a commit; main by default'),
    file: z.string().min(1).optional().describe('This file of the repository, and nothing else'),
    json: jsonOption,
  }),
  argument: 'model',
  flags: { model: { value: 'MODEL' }, file: { value: 'NAME' } },
  notes: `Only what a model for text needs is fetched, into the cache that Python programs use too, and the path is shown
(JSON: repo, revision, commit, path, fetched, fetchedBytes). What is there already costs one request. After Ctrl-C
or a lost connection the same command goes on from there. The same names serve wherever a model is asked for:
glossa generate -m org/name, or org/name@revision.

HF_TOKEN opens gated and private models. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and more: docs/hub.md`,
  async run({ model, revision, file, json }) {
    const named = parseReference(model)
    if (named === undefined)
      throw new UsageError(`MODEL ${model}: must be org/name, as in the hub's addresses`)
    if (file !== undefined && named.quant !== undefined)
      throw new UsageError(`:${named.quant} and --file exclude each other: both choose a file`)
    const reference = { ...named, revision: revision ?? named.revision }
    if (!isRevision(reference.revision))
      throw new UsageError(`--revision ${revision}: is no name of a revision`)

    const settings = hubSettings(process.env)
    const { path, commit, fetched } = settings.offline
      ? cachedOnly(reference, settings, file)
      : await pullModel(reference, settings, file)
    const fetchedBytes = fetched.reduce((sum, { size }) => sum + size, 0)
    if (json) printJson({ ...reference, commit, path, fetched, fetchedBytes })
    else {
      const count = `${fetched.length} file${fetched.length === 1 ? '' : 's'}`
      note(fetched.length === 0 ? 'all there already' : `fetched ${count}, ${bytes(fetchedBytes)}`)
      print(`${path}\n`)
    }
    return 0
  },
})

function cachedOnly(
  reference: ModelReference,
  settings: HubSettings,
  file: string | undefined,
): Pick<Pulled, 'path' | 'commit' | 'fetched'> {
  if (file !== undefined) throw new Error('--file asks the hub, and HF_HUB_OFFLINE is set: unset it')
  const cached = findCached(reference, settings)
  if ('problem' in cached) throw new Error(`${cached.problem}, and HF_HUB_OFFLINE is set: unset it`)
  return { ...cached, fetched: [] }
}
