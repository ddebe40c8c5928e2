/** Several streams as one, items as they come. Leaving it leaves all of them. */
export async function* merged<T>(streams: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, void> {
  const items: T[] = []
  let failed: { readonly error: unknown } | undefined
  let left = streams.length
  let wake: (() => void) | undefined
  let over = false
  const read = async (stream: AsyncIterable<T>): Promise<void> => {
    try {
      for await (const item of stream) {
        if (over) break
        items.push(item)
        wake?.()
      }
    } catch (error) {
      failed ??= { error }
    } finally {
      left--
      wake?.()
    }
  }
  const reading = streams.map(read)
  try {
    while (left > 0 || items.length > 0) {
      if (failed) throw failed.error
      const item = items.shift()
      if (item !== undefined) yield item
      else
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    }
    if (failed) throw (failed as { readonly error: unknown }).error
  } finally {
    over = true
    void Promise.allSettled(reading)
  }
}
