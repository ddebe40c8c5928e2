/**
 * What the environment says about the hub: the variables of `huggingface_hub`, with its meanings and defaults.
 *
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

export interface HubSettings {
  /** Without a slash at the end. */
  readonly endpoint: string
  /** The folder with one folder for each model. */
  readonly cache: string
  readonly token?: string | undefined
  /** Nothing but the cache is used. */
  readonly offline: boolean
  /** Whether snapshots may be links to blobs; otherwise, and where links are impossible, they are the files. */
  readonly symlinks: boolean
  readonly progressBars: boolean
  /** How long the hub may take to answer, and to send the next bytes of a file. */
  readonly answerMs: number
  readonly silenceMs: number
  /** The pause before a first retry; each further one is twice as long. */
  readonly retryMs: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads the variables, and the token's file. */
export function hubSettings(env: Environment): HubSettings {
  const path = (text: string): string => resolve(expand(text, env))
  const home = path(env.HF_HOME || join(env.XDG_CACHE_HOME || '~/.cache', 'huggingface'))
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (!/^https?:\/\/[^/]/.test(endpoint))
    throw new Error(`HF_ENDPOINT is '${endpoint}': it must begin with https:// or http://`)
  return {
    endpoint,
    cache: path(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    token: env.HF_TOKEN?.trim() || tokenIn(path(env.HF_TOKEN_PATH || join(home, 'token'))),
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
    progressBars: !isTrue(env.HF_HUB_DISABLE_PROGRESS_BARS),
    answerMs: 1000 * (Number(env.HF_HUB_ETAG_TIMEOUT) || 10),
    silenceMs: 1000 * (Number(env.HF_HUB_DOWNLOAD_TIMEOUT) || 10),
    retryMs: 250,
  }
}

const isTrue = (text: string | undefined): boolean => /^(1|on|yes|true)$/i.test(text ?? '')

/** `~` and `$NAME` at the places where a shell would have replaced them. */
const expand = (path: string, env: Environment): string =>
  path
    .replace(/^~(?=$|[/\\])/, homedir())
    .replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare, braced) => env[bare ?? braced] ?? whole)

const tokenIn = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8').trim() || undefined : undefined
