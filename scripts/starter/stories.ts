/** The text that the starter model is trained on, and what is kept from it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** TinyStories (Eldan and Li 2023), CDLA-Sharing-1.0. Stories are separated by a line `<|endoftext|>`. */
const files = [
  'data/tinystories-val-part/tinystories_dedup.txt.gz',
  'text/tinystories_new/tinystories_mines.txt.gz',
  'text/tinystories_new/tinystories_crib.txt',
]

export const endOfText = '<|endoftext|>'
const heldOutShare = 0.02

function read(path: string): string[] {
  const bytes = readFileSync(path)
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
  return text
    .split(endOfText)
    .map((story) => story.trim())
    .filter((story) => story.length > 0)
}

/**
 * The last 2 % of the stories of each file are held out. No random numbers choose them: the set stays the same
 * when a generator or a seed changes, and a later run cannot be measured on what an earlier one has learnt.
 */
export function readStories(folder: string): { training: string[]; heldOut: string[] } {
  const training: string[] = []
  const heldOut: string[] = []
  for (const name of files) {
    const stories = read(join(folder, name))
    const border = stories.length - Math.ceil(stories.length * heldOutShare)
    training.push(...stories.slice(0, border))
    heldOut.push(...stories.slice(border))
  }
  const known = new Set(training)
  if (heldOut.some((story) => known.has(story)))
    throw new Error('a held-out story is among the training stories')
  return { training, heldOut }
}
