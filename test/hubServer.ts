/** A server that speaks the hub's protocol, with faults on demand; large files lie on a second one. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')
export const gitSha1 = (content: Uint8Array): string =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')

/** Weights are large files, whatever their size. */
export const isLarge = (path: string): boolean => /\.(safetensors|gguf|parquet)$/.test(path)
export const etagOf = (path: string, content: Uint8Array): string =>
  isLarge(path) ? sha256(content) : gitSha1(content)

type Files = Readonly<Record<string, Buffer>>

export interface Asked {
  readonly method: string
  readonly path: string
  readonly range: string | undefined
  readonly authorization: string | undefined
}

export class HubServer {
  /** Requests to the hub, and to where the large files lie. */
  readonly asked: Asked[] = []
  readonly askedStorage: Asked[] = []
  /** Connections that send a large file break after so many bytes of it, one after the other. */
  readonly cuts: number[] = []
  /** Milliseconds between pieces of a large file. */
  slowness = 0
  /** Answers given instead of the right ones, one after the other, to paths that fit. */
  readonly answers: { readonly path: RegExp; status: number; headers?: Record<string, string> }[] = []
  /** Changes what is sent of a large file. */
  tamper: (content: Buffer) => Buffer = (content) => content
  /** Large files begin and never go on. */
  silent = false
  ranges = true
  /** Whether listings have sizes and hashes. */
  blobs = true
  readonly #commits = new Map<string, Files>()
  readonly #refs = new Map<string, string>()
  readonly #hub = createServer((request, response) => this.#answer(request, response))
  readonly #storage = createServer((request, response) => this.#store(request, response))

  static async start(): Promise<HubServer> {
    const server = new HubServer()
    for (const part of [server.#hub, server.#storage])
      await new Promise<void>((resolve) => part.listen(0, '127.0.0.1', resolve))
    return server
  }

  get endpoint(): string {
    return address(this.#hub)
  }

  /** Makes these the files of a branch or tag, and gives their commit. Names of data sets begin with `datasets/`. */
  commit(repo: string, files: Files, ref = 'main'): string {
    const commit = createHash('sha1').update(JSON.stringify(files)).digest('hex')
    this.#commits.set(`${repo} ${commit}`, files)
    this.#refs.set(`${repo} ${ref}`, commit)
    return commit
  }

  /** What was asked for of files since the last call. */
  filesAsked(): string[] {
    const asked = this.asked.splice(0).filter(({ path }) => path.includes('/resolve/'))
    return asked.map(({ path }) => path.replace(/^.*\/resolve\/\w+\//, ''))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [this.#hub, this.#storage]) {
      part.closeAllConnections()
      await new Promise((resolve) => part.close(resolve))
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): ServerResponse {
    const { path, authorization } = note(request, this.asked)
    const fault = this.answers.findIndex((answer) => answer.path.test(path))
    if (fault >= 0) {
      const [{ status, headers } = { status: 500 }] = this.answers.splice(fault, 1)
      return send(response, status, headers)
    }
    const api = /^\/api\/(?:models\/)?((?:datasets\/)?[^/]+\/[^/]+)\/revision\/([^/?]+)\?blobs=true$/.exec(
      path,
    )
    if (api) return this.#list(response, api[1]!, decodeURIComponent(api[2]!))
    const [, repo, commit, encoded = ''] =
      /^\/((?:datasets\/)?[^/]+\/[^/]+)\/resolve\/(\w+)\/(.+)$/.exec(path) ?? []
    const name = decodeURIComponent(encoded)
    const content = this.#commits.get(`${repo} ${commit}`)?.[name]
    if (!content) return send(response, 404, { 'x-error-code': 'EntryNotFound' })
    if (authorization === 'Bearer wrong') return send(response, 401)
    const headers = { 'x-repo-commit': commit!, etag: `"${etagOf(name, content)}"` }
    const length = `${content.length}`
    if (!isLarge(name))
      return send(
        response,
        200,
        { ...headers, 'content-length': length },
        request.method === 'HEAD' ? '' : content,
      )
    const linked = { 'x-linked-etag': headers.etag, 'x-linked-size': length }
    const location = `${address(this.#storage)}/${commit}/${name}?repo=${repo}`
    return send(response, 302, { ...headers, ...linked, location })
  }

  #list(response: ServerResponse, repo: string, revision: string): ServerResponse {
    const commit = this.#commits.has(`${repo} ${revision}`) ? revision : this.#refs.get(`${repo} ${revision}`)
    if (!commit) {
      const exists = [...this.#refs.keys()].some((key) => key.startsWith(`${repo} `))
      // As the hub does for those who have no token: there may be a private model of that name.
      const [status, code] = exists ? [404, 'RevisionNotFound'] : [401, 'RepoNotFound']
      return send(response, status as number, { 'x-error-code': code as string })
    }
    const files = Object.entries(this.#commits.get(`${repo} ${commit}`)!)
    const siblings = files.map(([rfilename, content]) => {
      if (!this.blobs) return { rfilename }
      const { length: size } = content
      const lfs = isLarge(rfilename) ? { lfs: { sha256: sha256(content), size, pointerSize: 130 } } : {}
      return { rfilename, size, blobId: gitSha1(content), ...lfs }
    })
    const body = JSON.stringify({ id: repo, sha: commit, siblings })
    return send(response, 200, { 'content-type': 'application/json' }, body)
  }

  async #store(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path, range } = note(request, this.askedStorage)
    const [, commit, name, repo] = /^\/(\w+)\/(.+)\?repo=(.*)$/.exec(path) ?? []
    const whole = this.tamper(this.#commits.get(`${repo} ${commit}`)![name!]!)
    const from = this.ranges ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0
    const content = whole.subarray(from)
    const partly = from > 0 && { 'content-range': `bytes ${from}-${whole.length - 1}/${whole.length}` }
    response.writeHead(partly ? 206 : 200, { 'content-length': content.length, ...partly })
    if (this.silent) return response.flushHeaders()
    const end = Math.min(this.cuts.shift() ?? Number.POSITIVE_INFINITY, content.length)
    const piece = this.slowness > 0 ? 1000 : end
    for (let at = 0; at < end; at += piece) {
      if (response.destroyed) return
      await new Promise((resolve) => response.write(content.subarray(at, Math.min(end, at + piece)), resolve))
      if (this.slowness > 0) await new Promise((resolve) => setTimeout(resolve, this.slowness))
    }
    if (end < content.length) response.destroy()
    else response.end()
  }
}

const address = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

const send = (
  response: ServerResponse,
  status: number,
  headers: Record<string, string> = {},
  body: string | Buffer = '',
): ServerResponse => response.writeHead(status, headers).end(body)

function note({ method, url, headers }: IncomingMessage, log: Asked[]): Asked {
  const asked = { method: method!, path: url!, range: headers.range, authorization: headers.authorization }
  log.push(asked)
  return asked
}
