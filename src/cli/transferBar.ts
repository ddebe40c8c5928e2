/** How far a download is: `org/name: 58 %, 1.2 GB of 2.1 GB, 31 MB/s, 29 s left [======    ]`. */
import { bytes, lineWidth, status } from './terminal.ts'

const [narrowest, widest] = [5, 30]
/** The rate is that of the last seconds: networks change their mind. */
const windowMs = 5000
/** Faster than this nobody reads. */
const redrawMs = 100

export class TransferBar {
  readonly #label: string
  readonly #now: () => number
  /** Moments, and the bytes there were, of the last seconds; oldest first. */
  readonly #seen: [ms: number, done: number][] = []
  #drawn = Number.NEGATIVE_INFINITY

  constructor(label: string, now = () => performance.now()) {
    this.#label = label
    this.#now = now
  }

  update(done: number, total: number): void {
    const now = this.#now()
    if (now - this.#drawn < redrawMs && done < total) return
    this.#drawn = now
    status(this.text(done, total, lineWidth()))
  }

  /** Figures first: a bar is what there is still room for. */
  text(done: number, total: number, columns: number): string {
    const now = this.#now()
    this.#seen.push([now, done])
    while (this.#seen.length > 1 && now - this.#seen[0]![0] > windowMs) this.#seen.shift()
    const [since, before] = this.#seen[0]!
    const rate = now > since ? (1000 * (done - before)) / (now - since) : 0
    const share = total === 0 ? 1 : done / total
    const speed = rate > 0 ? `, ${bytes(rate)}/s, ${duration((total - done) / rate)} left` : ''
    const figures = `${this.#label}: ${Math.floor(100 * share)} %, ${bytes(done)} of ${bytes(total)}${speed}`
    const width = Math.min(widest, columns - figures.length - ' []'.length)
    return width < narrowest ? figures : `${figures} [${'='.repeat(share * width).padEnd(width)}]`
  }
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
