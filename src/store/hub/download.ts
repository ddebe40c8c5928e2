/** One file, from the hub to its blob: resumed, verified, complete or not there. */
import type { HubClient, Listing, RemoteFile } from './client.ts'
import { HubError } from './errors.ts'
import { PartialBlob } from './partialBlob.ts'
import { persist } from './retry.ts'

export interface DownloadOptions {
  readonly retryMs: number
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes that the file has so far. */
  readonly onSize: (size: number) => void
}

/** Downloads a file to `blob`. A part that is there already is not fetched again. */
export async function download(
  client: HubClient,
  listing: Listing,
  file: RemoteFile,
  blob: string,
  options: DownloadOptions,
): Promise<void> {
  const partial = await PartialBlob.claim(blob, file)
  try {
    const inherited = partial.size > 0
    await complete(client, listing, file, partial, options)
    let whole = partial.isWhole()
    if (!whole && inherited) {
      // A machine that lost its power may have left zeros.
      await partial.restart()
      await complete(client, listing, file, partial, options)
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
  file: RemoteFile,
  partial: PartialBlob,
  { onSize, ...patience }: DownloadOptions,
): Promise<void> {
  onSize(partial.size)
  const attempt = async (): Promise<void> => {
    if (partial.size === file.size) return
    for await (const { at, bytes } of client.read(listing, file.path, partial.size)) {
      if (at !== partial.size) await partial.restart()
      if (partial.size + bytes.length > file.size)
        throw new HubError(`${file.path} of ${listing.repo} is longer than the ${file.size} bytes announced`)
      await partial.append(bytes)
      onSize(partial.size)
    }
    if (partial.size < file.size)
      throw new HubError(`${file.path} of ${listing.repo} was cut off at byte ${partial.size}`, {
        passing: true,
      })
  }
  return persist(attempt, { ...patience, progress: () => partial.size })
}
