/** Damage to values and bytes that parsers are asked to survive, and how often. */
import fc from 'fast-check'

const multiplier = process.env.GLOSSA_FUZZ_RUNS
/** GLOSSA_FUZZ_RUNS multiplies the number of cases, which are then different in every run. */
export const factor = Number(multiplier ?? 1)
export const runs = (count: number): { numRuns: number; seed?: number } => ({
  numRuns: count * factor,
  ...(multiplier === undefined && { seed: 1 }),
})

export const strange = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    1,
    1.5,
    1e9,
    2 ** 53,
    1e308,
    '',
    ' ',
    [],
    {},
    '__proto__',
    'x'.repeat(3000),
  ),
  fc.constantFrom(
    '(',
    '[a',
    '\\',
    'a**',
    '(?<=a)+',
    '\\p{X}',
    '[[:a:]]',
    '(?i)ß',
    '\ud800',
    'Sequence',
    'ByteLevel',
    'BPE',
  ),
  fc.string({ unit: 'binary' }),
  fc.integer(),
  fc.jsonValue({ maxDepth: 2 }),
)

/** One change: where (a child at each level, until `steps` runs out), what, and by which value. */
export const change = fc.record({
  steps: fc.array(fc.nat(1000), { minLength: 1, maxLength: 6 }),
  kind: fc.constantFrom('replace', 'delete', 'add', 'copy'),
  value: strange,
  key: fc.oneof(fc.constantFrom('type', 'id', 'vocab', 'constructor', '__proto__'), fc.string()),
})
export type Change = typeof change extends fc.Arbitrary<infer T> ? T : never

/** The tree with the change made. `__proto__` is a key like any other, as it is to JSON.parse. */
export function mutated(tree: unknown, { steps: [step = 0, ...steps], kind, value, key }: Change): unknown {
  if (typeof tree !== 'object' || tree === null || ArrayBuffer.isView(tree)) return value
  const entries = Object.entries(tree)
  const at = entries.length === 0 ? 0 : step % entries.length
  const entry = entries[at]
  if (entry === undefined || (steps.length === 0 && kind === 'add')) entries.push([key, value])
  else if (steps.length > 0) entry[1] = mutated(entry[1], { steps, kind, value, key })
  else if (kind === 'replace') entry[1] = value
  else if (kind === 'copy') entry[1] = entries[(step * 7) % entries.length]![1]
  else entries.splice(at, 1)
  return Array.isArray(tree) ? entries.map(([, child]) => child) : Object.fromEntries(entries)
}

/** The bytes with some of them changed, inserted or cut off. */
export const damage = fc.array(
  fc.tuple(fc.constantFrom('set', 'insert', 'cut'), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(255)),
  { minLength: 1, maxLength: 4 },
)
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never
export function damaged(bytes: Uint8Array, changes: Damage): Buffer {
  let result = Buffer.from(bytes)
  for (const [kind, where, byte] of changes) {
    const at = Math.floor(where * result.length)
    if (kind === 'set') result[at] = byte
    else if (kind === 'cut') result = result.subarray(0, at)
    else result = Buffer.concat([result.subarray(0, at), Buffer.of(byte), result.subarray(at)])
  }
  return result
}
