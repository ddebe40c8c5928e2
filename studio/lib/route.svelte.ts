/** The page and what is on it, in the address: a link shows another person the same. */

type Value = string | number | boolean | string[]

function read(): { page: string; values: Record<string, unknown> } {
  const [page = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  const values: Record<string, unknown> = {}
  for (const [key, text] of new URLSearchParams(query)) {
    try {
      values[key] = JSON.parse(text)
    } catch {
      values[key] = text
    }
  }
  return { page, values }
}

export const route = $state({ page: read().page || 'write' })
addEventListener('hashchange', () => {
  route.page = read().page || 'write'
})

/** Fields of a page, read from the address. `keep` in an effect writes what differs from the default back. */
export function fields<T extends Record<string, Value>>(
  page: string,
  defaults: T,
): { value: T; keep(): void } {
  const given = read()
  const known = given.page === page ? given.values : {}
  const value = $state({ ...defaults })
  for (const [key, own] of Object.entries(defaults)) {
    const other = known[key]
    if (typeof other === typeof own && Array.isArray(other) === Array.isArray(own))
      value[key as keyof T] = other as T[keyof T]
  }
  return {
    value,
    keep() {
      const query = new URLSearchParams()
      for (const [key, own] of Object.entries(defaults)) {
        const now = JSON.stringify(value[key])
        if (now !== JSON.stringify(own)) query.set(key, now)
      }
      const text = query.toString()
      if (route.page === page) history.replaceState(null, '', `#/${page}${text ? `?${text}` : ''}`)
    },
  }
}
