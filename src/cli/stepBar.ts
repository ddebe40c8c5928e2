/** What a training run shows while it goes on. */
import { short, status } from './terminal.ts'

/** Seconds for people. */
export const duration = (seconds: number): string => {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)]
  return hours > 0
    ? `${hours} h ${minutes} min`
    : minutes > 0
      ? `${minutes} min ${Math.floor(seconds % 60)} s`
      : `${seconds.toFixed(1)} s`
}

/** Loss (a running mean), speed and time left, on one line of the terminal. */
export class StepBar {
  readonly #total: number
  #loss: number | undefined
  /** Ends of the last steps, with what each learned from. */
  #recent: { readonly time: number; readonly weight: number }[] = [{ time: performance.now(), weight: 0 }]

  constructor(total: number) {
    this.#total = total
  }

  step(step: number, loss: number, weight: number): void {
    this.#loss = this.#loss === undefined ? loss : 0.95 * this.#loss + 0.05 * loss
    this.#recent = [...this.#recent, { time: performance.now(), weight }].slice(-50)
    const seconds = (this.#recent.at(-1)!.time - this.#recent[0]!.time) / 1000
    const learned = this.#recent.slice(1).reduce((sum, entry) => sum + entry.weight, 0)
    const left = (seconds / (this.#recent.length - 1)) * (this.#total - step)
    const done = Math.floor((24 * step) / this.#total)
    status(
      `${'█'.repeat(done)}${'░'.repeat(24 - done)} ${step}/${this.#total}  loss ${this.#loss.toFixed(3)}  ` +
        `${short(learned / seconds)} tokens/s  ${duration(left)} left`,
    )
  }
}
