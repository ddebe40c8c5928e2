/** One file, from the hub to its blob: resumed, verified, complete or not there. */
import type { HubClient, Listing, RemoteFile } from './client.ts'
import { HubError } from './errors.ts'
import { PartialBlob } from './partialBlob.ts'

/**
 * Downloads a file to `blob`. A part that is there already is not fetched again. `onSize` is called with the
 * bytes that the file has so far.
 */
export async function download(
  client: HubClient,
  listing: Listing,
  file: RemoteFile,
  blob: string,
  onSize: (size: number) => void,
): Promise<void> {
  const partial = await PartialBlob.claim(blob, file)
  try {
    const inherited = partial.size > 0
    await complete(client, listing, partial, onSize)
    let whole = partial.isWhole()
    if (!whole && inherited) {
      // A machine that lost its power may have left zeros.
      await partial.restart()
      await complete(client, listing, partial, onSize)
      whole = partial.isWhole()
    }
    if (!whole) {
      await partial.restart()
      const way = 'a proxy may have changed it; try again'
      throw new HubError(`${file.path} of ${listing.repo} came damaged and was thrown away: ${way}`)
    }
  } catch (error) {
    await partial.release()
    throw error
  }
  await partial.finish()
}

/** Fetches what is missing, over as many connections as it takes. */
function complete(
  client: HubClient,
  listing: Listing,
  partial: PartialBlob,
  onSize: (size: number) => void,
): Promise<void> {
  const { path, size } = partial.file
  onSize(partial.size)
  const attempt = async (): Promise<void> => {
    if (partial.size === size) return
    for await (const { at, bytes } of client.read(listing, path, partial.size)) {
      if (at !== partial.size) await partial.restart()
      if (partial.size + bytes.length > size)
        throw new HubError(`${path} of ${listing.repo} is longer than the ${size} bytes announced`)
      await partial.append(bytes)
      onSize(partial.size)
    }
    if (partial.size < size)
      throw new HubError(`${path} of ${listing.repo} was cut off at byte ${partial.size}`, { passing: true })
  }
  return client.persist(attempt, () => partial.size)
}
