/** Runs take turns, in the order of the calls: memory that one has let go may be written by the next. */

let last: Promise<void> | undefined
/** What running programs use, kept from the garbage collector. */
const inUse = new Set<object>()
const whenDone: (() => void)[] = []

/** Whether a program runs, or waits for its turn. */
export const running = (): boolean => last !== undefined

/** Keeps an object from the garbage collector until the work is done. */
export async function keeping<T>(held: object, work: Promise<T>): Promise<T> {
  inUse.add(held)
  try {
    return await work
  } finally {
    inUse.delete(held)
  }
}

/** Runs after those that were there before; `held` is kept from the garbage collector until it is done. */
export function inTurn(run: () => Promise<void>, held: object): Promise<void> {
  const done = keeping(held, last ? last.then(run, run) : run()).finally(() => {
    if (last !== done) return
    last = undefined
    for (const act of whenDone.splice(0)) act()
  })
  last = done
  return done
}

/** Acts now, or when nothing runs any more: for what must not happen beside a run. */
export function whenIdle(act: () => void): void {
  if (last) whenDone.push(act)
  else act()
}
