/**
 * Sizes of axes: a number, or an integer polynomial over named symbols (`batch`, `past+time`), so that one
 * compiled program serves every prompt length and batch size. Normal form: monomial -> coefficient.
 */
export type Dim = number | SymbolicDim
export type Shape = readonly Dim[]
/** The values that the symbols take in one run. */
export type Bindings = ReadonlyMap<string, number>

export class SymbolicDim {
  /** Monomials in canonical form: symbols sorted and joined by `*`; the constant term has the key ''. */
  readonly terms: ReadonlyMap<string, number>
  readonly #text: string

  constructor(terms: ReadonlyMap<string, number>) {
    this.terms = terms
    this.#text = [...terms]
      .map(([monomial, factor]) =>
        monomial === '' ? `${factor}` : factor === 1 ? monomial : `${factor}*${monomial}`,
      )
      .sort()
      .join('+')
  }

  toString(): string {
    return this.#text
  }
}

/** A named size. The name must not look like a polynomial: `past+time` is the sum of two symbols. */
export function symbol(name: string): SymbolicDim {
  if (!/^[A-Za-z_][^\s+*]*$/.test(name))
    throw new TypeError(`'${name}' cannot name an axis: names start with a letter and have no space, + or *`)
  return new SymbolicDim(new Map([[name, 1]]))
}

/** The symbol's name if `dim` is one bare symbol. */
export function symbolName(dim: Dim): string | undefined {
  if (typeof dim === 'number' || dim.terms.size !== 1) return undefined
  const [entry] = dim.terms
  return entry?.[1] === 1 && !entry[0].includes('*') ? entry[0] : undefined
}

const termsOf = (dim: Dim): ReadonlyMap<string, number> =>
  typeof dim === 'number' ? new Map([['', dim]]) : dim.terms

function fromTerms(terms: Map<string, number>): Dim {
  for (const [monomial, factor] of terms) if (factor === 0) terms.delete(monomial)
  if (terms.size === 0) return 0
  if (terms.size === 1 && terms.has('')) return terms.get('') ?? 0
  return new SymbolicDim(terms)
}

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  const sum = new Map(termsOf(a))
  for (const [monomial, factor] of termsOf(b)) sum.set(monomial, (sum.get(monomial) ?? 0) + factor)
  return fromTerms(sum)
}

export const subtractDims = (a: Dim, b: Dim): Dim => addDims(a, multiplyDims(b, -1))

export function multiplyDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a * b
  const product = new Map<string, number>()
  for (const [left, x] of termsOf(a))
    for (const [right, y] of termsOf(b)) {
      const monomial = [...left.split('*'), ...right.split('*')].filter(Boolean).sort().join('*')
      product.set(monomial, (product.get(monomial) ?? 0) + x * y)
    }
  return fromTerms(product)
}

/** Exact quotient, or undefined where the division does not come out even for every value of the symbols. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  if (b === 0) return undefined
  if (b === 1) return a
  if (typeof a === 'number' && typeof b === 'number') return a % b === 0 ? a / b : undefined
  // Long division: each step removes the leading term, so the order of the rest falls until nothing is left.
  const [monomial, factor] = leading(b)
  let quotient: Dim = 0
  let rest = a
  while (rest !== 0) {
    const [key, x] = leading(rest)
    const left = without(key, monomial)
    if (left === undefined || x % factor !== 0) return undefined
    const term = fromTerms(new Map([[left, x / factor]]))
    quotient = addDims(quotient, term)
    rest = subtractDims(rest, multiplyDims(term, b))
  }
  return quotient
}

const symbolsOf = (monomial: string): string[] => monomial.split('*').filter(Boolean)

/** Monomials by degree, then alphabetically: an order that multiplication keeps. */
function before(x: string, y: string): boolean {
  const [a, b] = [symbolsOf(x), symbolsOf(y)]
  if (a.length !== b.length) return a.length > b.length
  const at = a.findIndex((name, i) => name !== b[i])
  return at >= 0 && a[at]! < b[at]!
}

const leading = (dim: Dim): readonly [monomial: string, factor: number] =>
  [...termsOf(dim)].reduce((best, term) => (before(term[0], best[0]) ? term : best))

/** What is left of a monomial after division by another, if it comes out even. */
function without(monomial: string, divisor: string): string | undefined {
  const symbols = symbolsOf(monomial)
  for (const name of symbolsOf(divisor)) {
    const at = symbols.indexOf(name)
    if (at < 0) return undefined
    symbols.splice(at, 1)
  }
  return symbols.join('*')
}

export const sameDim = (a: Dim, b: Dim): boolean =>
  typeof a === 'number' || typeof b === 'number' ? a === b : a.toString() === b.toString()

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, i) => sameDim(dim, b[i]!))

export const showShape = (shape: Shape): string => `[${shape.join(', ')}]`

export const sizeOf = (shape: Shape): Dim => shape.reduce(multiplyDims, 1)

/** Whether every axis has a known size. */
export const isStatic = (shape: Shape): shape is readonly number[] =>
  shape.every((dim) => typeof dim === 'number')

/** The number that `dim` is under `bindings`; throws where a symbol has no value. */
export function evaluateDim(dim: Dim, bindings: Bindings): number {
  if (typeof dim === 'number') return dim
  let total = 0
  for (const [monomial, factor] of dim.terms) {
    let term = factor
    for (const name of monomial.split('*').filter(Boolean)) {
      const value = bindings.get(name)
      if (value === undefined) throw new Error(`the axis symbol '${name}' has no value in this run`)
      term *= value
    }
    total += term
  }
  return total
}

export const evaluateShape = (shape: Shape, bindings: Bindings): number[] =>
  shape.map((dim) => evaluateDim(dim, bindings))

/** NumPy broadcasting of two shapes, or undefined where they do not fit. A symbol fits itself and 1. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length)
  const shape: Dim[] = []
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1
    const y = b[b.length - rank + i] ?? 1
    if (x === 1) shape.push(y)
    else if (y === 1 || sameDim(x, y)) shape.push(x)
    else return undefined
  }
  return shape
}
