/** The experiments that there are: every file in `papers/`, by its name. */
import { readdirSync } from 'node:fs'
import { closest } from '../method/index.ts'
import type { Experiment } from './experiment.ts'

const folder = new URL('./papers/', import.meta.url)

/** The file of an id: `wavelet-gpt` is `waveletGpt`. */
const fileOf = (id: string): string => id.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())

const names = (): string[] =>
  readdirSync(folder)
    .filter((name) => /\.[jt]s$/.test(name) && !/(\.d|\.test)\.ts$/.test(name))
    .map((name) => name.replace(/\.[jt]s$/, ''))
    .sort()

async function open(name: string): Promise<Experiment> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const { default: found } = (await import(`./papers/${name}.${extension}`)) as { default: Experiment }
  if (!found?.id || fileOf(found.id) !== name)
    throw new Error(`experiments/papers/${name}: its id '${found?.id}' has to be the file's name`)
  return found
}

/** All of them, by name. */
export const experiments = (): Promise<Experiment[]> => Promise.all(names().map(open))

/** One by its id, or by the number of its paper. */
export async function experimentOf(id: string): Promise<Experiment> {
  if (names().includes(fileOf(id))) return open(fileOf(id))
  const all = await experiments()
  const found = all.find(({ paper }) => `${paper}` === id)
  if (found) return found
  const near = closest(
    id,
    all.map((one) => one.id),
  )
  throw new Error(
    `there is no experiment '${id}'${near.length > 0 ? `; did you mean ${near.join(', ')}?` : `; there are: ${all.map((one) => one.id).join(', ')}`}`,
  )
}
