/** What a caller has done wrong, or what cannot be done now: with a status, and the field that it is about. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  /** The field of the request. */
  readonly param: string | null
  readonly code: string | null

  constructor(
    status: number,
    message: string,
    { param = null, code = null }: { readonly param?: string | null; readonly code?: string | null } = {},
  ) {
    super(message)
    this.status = status
    this.param = param
    this.code = code
  }

  /** OpenAI's object. */
  get body(): object {
    const { message, param, code, status } = this
    const type =
      status === 401
        ? 'authentication_error'
        : status === 429
          ? 'rate_limit_error'
          : status >= 500
            ? 'server_error'
            : 'invalid_request_error'
    return { error: { message, type, param, code } }
  }
}

/** Codes that errors carry from the engine's thread to here, with their statuses. */
const statuses: Readonly<Record<string, number>> = {
  invalid: 400,
  context_length_exceeded: 400,
  model_not_found: 404,
  queue_full: 429,
}

/** Any error as one that can be answered: those of the engine by their codes, all others as the server's own. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  const { message, code } = error as { message?: string; code?: unknown }
  const known = typeof code === 'string' ? statuses[code] : undefined
  if (known !== undefined) return new ApiError(known, message ?? '', { code: code as string })
  return new ApiError(500, `the server failed: ${message ?? String(error)}`)
}

/** An error of the engine's thread that the caller can do something about. */
export const invalid = (message: string, code = 'invalid'): Error =>
  Object.assign(new Error(message), { code })
