/** How a model of the hub is named: `org/name`, `org/name@revision`, `org/name:Q4_0`, or all of these. */

export interface ModelReference {
  /** `org/name`. */
  readonly repo: string
  /** A branch, a tag or a commit; `main` by default. */
  readonly revision: string
  /** Which of several GGUF files: a part of its name, such as `Q4_0`. */
  readonly quant?: string | undefined
}

const name = /[a-z\d](?:[\w.-]{0,94}[a-z\d_-])?/.source
const pattern = new RegExp(`^(${name}/${name})(?:@([\\w./-]+))?(?::([\\w.-]+))?$`, 'i')

/** Undefined for what cannot be a model of the hub, such as most paths. */
export function parseReference(text: string): ModelReference | undefined {
  const [, repo, revision = 'main', quant] = pattern.exec(text) ?? []
  if (repo === undefined || /--|\.\./.test(repo) || !isRevision(revision)) return undefined
  return { repo, revision, quant }
}

/** As git allows; it becomes a path in the cache. */
export const isRevision = (text: string): boolean =>
  /^[\w.-]+(\/[\w.-]+)*$/.test(text) && !text.split('/').some((part) => /^\.+$/.test(part))

export const isCommit = (revision: string): boolean => /^[\da-f]{40}$/.test(revision)

/** As it was written. */
export const referenceText = ({ repo, revision, quant }: ModelReference): string =>
  `${repo}${revision === 'main' ? '' : `@${revision}`}${quant === undefined ? '' : `:${quant}`}`

/** A repository among those of its kind: `models/org/name`; names of data sets begin with `datasets/` themselves. */
export const withKind = (repo: string): string =>
  /^datasets\/[^/]+\/[^/]+$/.test(repo) ? repo : `models/${repo}`
