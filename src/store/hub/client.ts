/**
 * The hub's protocol, as far as reading models and data sets needs it.
 *
 *   GET  /api/models/{repo}/revision/{revision}?blobs=true    commit, and its files with sizes and hashes
 *   HEAD /{repo}/resolve/{commit}/{path}                      size and hash of a file, where those lack them
 *   GET  /{repo}/resolve/{commit}/{path}                      its content, by way of a redirect for large files
 *
 * Of a data set, {repo} is datasets/{org}/{name} and the listing /api/{repo}/revision/{revision}.
 *
 * The token is for the endpoint only: `fetch` drops it when a redirect leads to another origin.
 */
import * as z from 'zod'
import { answerError, HubError, networkError, type Request } from './errors.ts'
import { isCommit, withKind } from './reference.ts'
import { persist, Watchdog } from './retry.ts'
import type { HubSettings } from './settings.ts'

export interface RemoteFile {
  readonly path: string
  readonly size: number
  /** Names the content: sha256 of large files, git's sha1 of small ones. */
  readonly etag: string
}

/** A file as it is listed; proxies of the hub may leave the rest out. */
export interface ListedFile {
  readonly path: string
  readonly size?: number | undefined
  readonly etag?: string | undefined
}

export interface Listing {
  readonly repo: string
  readonly commit: string
  readonly files: readonly ListedFile[]
}

const listingSchema = z.object({
  sha: z.string().refine(isCommit, 'is not a commit'),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.int().nonnegative().nullish(),
      blobId: z.string().nullish(),
      lfs: z.object({ size: z.int().nonnegative(), sha256: z.string() }).nullish(),
    }),
  ),
})

// It becomes a file name.
const isEtag = (text: string): boolean => /^\w[\w.-]{7,127}$/.test(text)

export class HubClient {
  readonly #settings: HubSettings
  readonly #signal: AbortSignal | undefined

  constructor(settings: HubSettings, signal?: AbortSignal) {
    this.#settings = settings
    this.#signal = signal
  }

  /** Attempts something until it succeeds, or fails for good: `persist` with the client's patience. */
  persist<T>(attempt: () => Promise<T>, progress?: () => number): Promise<T> {
    return persist(attempt, { retryMs: this.#settings.retryMs, signal: this.#signal, progress })
  }

  /** Resolves a revision to its commit, and lists the files. */
  list(repo: string, revision: string): Promise<Listing> {
    const about = { repo, revision }
    return this.persist(async () => {
      using watchdog = new Watchdog(this.#settings.answerMs, this.#signal)
      const path = `api/${withKind(repo)}/revision/${encodeURIComponent(revision)}?blobs=true`
      const response = await this.#fetch(path, { signal: watchdog.signal })
      if (!response.ok) throw await this.#refusal(response, about)
      const listing = listingSchema.safeParse(await this.#json(response))
      if (!listing.success) throw this.#notTheHub(z.prettifyError(listing.error))
      const files = listing.data.siblings.map(({ rfilename, size, blobId, lfs }) => ({
        path: rfilename,
        size: lfs?.size ?? size ?? undefined,
        etag: lfs?.sha256 ?? blobId ?? undefined,
      }))
      return { repo, commit: listing.data.sha, files }
    })
  }

  /** Completes what the listing says of a file. */
  async describe({ repo, commit }: Listing, file: ListedFile): Promise<RemoteFile> {
    const { path } = file
    const { size, etag } =
      file.size === undefined || file.etag === undefined ? await this.#head(repo, commit, path) : file
    if (etag === undefined || !isEtag(etag) || size === undefined || !Number.isSafeInteger(size))
      throw this.#notTheHub(`${path} has no size or no etag`)
    return { path, size, etag }
  }

  /**
   * The content of a file from a byte on. Servers that ignore the wish send all of it: `at` is where bytes
   * belong. Fails when the connection does.
   */
  async *read(
    { repo, commit }: Listing,
    path: string,
    from: number,
  ): AsyncGenerator<{ at: number; bytes: Uint8Array }> {
    using watchdog = new Watchdog(this.#settings.silenceMs, this.#signal)
    const range: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {}
    const response = await this.#fetch(filePath(repo, commit, path), {
      headers: range,
      signal: watchdog.signal,
    })
    if (!response.ok || !response.body) throw await this.#refusal(response, { repo, revision: commit, path })
    let at = response.status === 206 ? rangeStart(response) : 0
    if (at !== 0 && at !== from)
      throw this.#notTheHub(`bytes from ${from} were asked for, these are from ${at}`)
    try {
      for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
        watchdog.heard()
        yield { at, bytes }
        at += bytes.length
      }
    } catch (error) {
      throw networkError(watchdog.signal.aborted ? watchdog.signal.reason : error, this.#settings)
    }
  }

  /** Size and etag from the headers. Those of a large file come with the redirect to where it lies. */
  #head(repo: string, commit: string, path: string): Promise<Omit<RemoteFile, 'path'>> {
    return this.persist(async () => {
      using watchdog = new Watchdog(this.#settings.answerMs, this.#signal)
      const options = { method: 'HEAD', signal: watchdog.signal }
      const url = filePath(repo, commit, path)
      let response = await this.#fetch(url, { ...options, redirect: 'manual' })
      // A model that was renamed.
      if (response.status >= 300 && response.status < 400 && !response.headers.has('x-linked-etag'))
        response = await this.#fetch(url, options)
      if (response.status >= 400) throw await this.#refusal(response, { repo, revision: commit, path })
      const { headers } = response
      const etag = headers.get('x-linked-etag') ?? headers.get('etag') ?? ''
      const size = headers.get('x-linked-size') ?? headers.get('content-length') ?? Number.NaN
      return { size: Number(size), etag: etag.replace(/^W\//, '').replace(/^"|"$/g, '') }
    })
  }

  async #fetch(
    path: string,
    { headers, ...options }: RequestInit & { signal: AbortSignal },
  ): Promise<Response> {
    const { endpoint, token } = this.#settings
    try {
      return await fetch(`${endpoint}/${path}`, {
        ...options,
        headers: {
          'user-agent': 'glossa',
          // Compressed, neither lengths nor ranges would be those of the file.
          'accept-encoding': 'identity',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...headers,
        },
      })
    } catch (error) {
      throw networkError(options.signal.aborted ? options.signal.reason : error, this.#settings)
    }
  }

  async #json(response: Response): Promise<unknown> {
    try {
      return await response.json()
    } catch (error) {
      if (error instanceof SyntaxError) throw this.#notTheHub('not JSON')
      throw networkError(error, this.#settings)
    }
  }

  /** The error of an answer, whose body is let go. */
  async #refusal(response: Response, about: Request): Promise<HubError> {
    await response.body?.cancel()
    return answerError(response, about, this.#settings)
  }

  #notTheHub(reason: string): HubError {
    const ways = 'is HF_ENDPOINT right, or a proxy in between?'
    return new HubError(`${this.#settings.endpoint} does not answer as the hub does (${reason}): ${ways}`)
  }
}

const filePath = (repo: string, commit: string, path: string): string =>
  `${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`

const rangeStart = (response: Response): number =>
  Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] ?? Number.NaN)
