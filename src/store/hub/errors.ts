/** What can go wrong between here and the hub, each with the way out. */
import type { HubSettings } from './settings.ts'

export class HubError extends Error {
  override readonly name = 'HubError'
  /** Whether the same may work a moment later, and after how many milliseconds if the hub has said that. */
  readonly passing: boolean
  readonly waitMs: number | undefined

  constructor(message: string, { passing = false, waitMs }: { passing?: boolean; waitMs?: number } = {}) {
    super(message)
    this.passing = passing
    this.waitMs = waitMs
  }
}

/** What was asked for. */
export interface Request {
  readonly repo: string
  readonly revision: string
  readonly path?: string
}

/** The error that an answer stands for. The hub tells causes apart in `x-error-code`. */
export function answerError(
  { status, headers }: Response,
  { repo, revision, path }: Request,
  { endpoint, token }: HubSettings,
): HubError {
  const code = headers.get('x-error-code')
  const what = path === undefined ? repo : `${path} of ${repo}`
  const newToken = `set HF_TOKEN to a token from ${endpoint}/settings/tokens`
  if (code === 'GatedRepo' || status === 403) {
    const terms = `${repo} is gated or closed to you (${status}): accept its terms at ${endpoint}/${repo}`
    const asWhom = token === undefined ? newToken : 'use a token (HF_TOKEN) of an account that has done so'
    return new HubError(`${terms} and ${asWhom}`)
  }
  if (code === 'RevisionNotFound') return new HubError(`${repo} has no revision '${revision}' (${status})`)
  if (code === 'EntryNotFound') return new HubError(`${repo} has no file ${path} (${status})`)
  if (status === 401 && token !== undefined && code !== 'RepoNotFound')
    return new HubError(`${endpoint} does not accept the token (401): ${newToken}, or unset it`)
  // Private models look as if they did not exist.
  if (status === 401 || status === 404) {
    const access = token === undefined ? newToken : 'use a token (HF_TOKEN) that may read it'
    return new HubError(`${endpoint} has no ${what} (${status}): check the name; if it is private, ${access}`)
  }
  if (status === 429) {
    const seconds = Number(headers.get('retry-after'))
    const more = token === undefined ? `, or ${newToken}: accounts may ask more` : ''
    return new HubError(`${endpoint} has had too many requests from here (429): wait some minutes${more}`, {
      passing: true,
      ...(seconds > 0 && { waitMs: 1000 * seconds }),
    })
  }
  return new HubError(`${endpoint} answered ${status} for ${what}: try again later`, {
    passing: status >= 500 || status === 408,
  })
}

/** The error of a request that got no answer, or a cut one. */
export function networkError(error: unknown, { endpoint }: HubSettings): HubError {
  if (error instanceof HubError) return error
  const { message, cause } = error as { message: string; cause?: { code?: string; message?: string } }
  const reason = cause?.code ?? cause?.message ?? message
  const ways = 'check the connection; HF_ENDPOINT names another host, HF_HUB_OFFLINE=1 uses the cache only'
  return new HubError(`no connection to ${endpoint} (${reason}): ${ways}`, { passing: true })
}
