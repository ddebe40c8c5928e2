/** Whether no value can be valid by two schemas, as far as can be told from looking: `oneOf` needs that. */
type Fields = Readonly<Record<string, unknown>>

export function disjoint(a: unknown, b: unknown): boolean {
  if (!isObject(a) || !isObject(b)) return false
  const [valuesA, valuesB] = [values(a), values(b)]
  if (valuesA && valuesB) return !valuesA.some((value) => valuesB.includes(value))
  const [typesA, typesB] = [types(a), types(b)]
  if (typesA.length === 0 || typesB.length === 0) return false
  if (!typesA.some((type) => typesB.includes(type))) return true
  // Objects differ if a property that both must have does.
  const onlyObjects = typesA.every((type) => type === 'object') && typesB.every((type) => type === 'object')
  return (
    onlyObjects &&
    tags(a).some(([name, schema]) => tags(b).some(([other, one]) => name === other && disjoint(schema, one)))
  )
}

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null

/** The only values that a schema allows, as JSON. */
function values({ const: single, enum: several }: Fields): string[] | undefined {
  const all = single === undefined ? several : [single]
  return Array.isArray(all) ? all.map((value) => JSON.stringify(value)) : undefined
}

/** Integers are numbers. */
const types = ({ type }: Fields): unknown[] =>
  type === undefined ? [] : [type].flat().map((name) => (name === 'integer' ? 'number' : name))

const tags = ({ properties, required }: Fields): [string, unknown][] =>
  Object.entries((properties ?? {}) as Fields).filter(
    ([name]) => Array.isArray(required) && required.includes(name),
  )
