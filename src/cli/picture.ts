/** Pictures that a user names a file for: SVG as it is, or PNG drawn from it. */
import { writeAtomic } from '../store/file.ts'
import { UsageError } from './verb.ts'

/** Pixels of a PNG for each of the SVG, so that it is sharp on screens of today. */
const zoom = 2

const kindOf = (path: string): string | undefined => /\.(svg|png)$/i.exec(path)?.[1]?.toLowerCase()

/** Refuses what is no picture that we write, before anything is computed. */
export function checkPicture(path: string | undefined, flag = '--plot'): void {
  if (path !== undefined && !kindOf(path))
    throw new UsageError(`${flag} ${path}: pictures are .svg or .png, by the end of the name`)
}

export async function writePicture(path: string, svg: string): Promise<void> {
  const data = kindOf(path) === 'png' ? await png(svg) : Buffer.from(svg)
  writeAtomic(path, (put) => put(data))
}

async function png(svg: string): Promise<Buffer> {
  const { Resvg } = await import('@resvg/resvg-js')
  const drawn = (source: string) => new Resvg(source, { fitTo: { mode: 'zoom', value: zoom } })
  // Where the system has no fonts, text would be left out without a word.
  const probe =
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="15" font-family="sans-serif">A</text></svg>'
  if (!drawn(probe).getBBox())
    throw new Error('this system has no fonts, which a PNG needs: install one, or write .svg')
  return drawn(svg).render().asPng()
}
