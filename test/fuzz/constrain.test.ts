/**
 * Damaged and hostile JSON schemas, patterns and grammars: each becomes a grammar that can be run, or an Error that says
 * what is wrong. No other exception, no long wait, no large allocation.
 */
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { type Grammar, type JsonSchema, parseGbnf, schemaGrammar } from '../../src/decode/constrain/index.ts'
import { Machine } from '../../src/decode/constrain/machine.ts'
import { change, damage, damaged, factor, mutated, runs, strange } from './mutations.ts'

vi.setConfig({ testTimeout: 60_000 * factor })
const parameters = runs(300)
const outcomes = new Set<string>()

/** Compiles a grammar and reads some bytes with it; both ways to end well. */
function probe(make: () => Grammar, message: RegExp): void {
  const began = process.cpuUsage()
  const memory = process.resourceUsage().maxRSS
  try {
    const machine = new Machine(make())
    for (const text of ['{"name": "x", "n": [1, -2.5e3, null]}', 'yes 42 é🙂', '']) {
      let state: ReturnType<Machine['read']> = machine.start
      for (const byte of new TextEncoder().encode(text))
        if (state) state = machine.read(state, Uint8Array.of(byte))
    }
    outcomes.add('compiled')
  } catch (error) {
    expect(Object.getPrototypeOf(error), String((error as Error).stack)).toBe(Error.prototype)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message.length).toBeLessThan(6000)
    outcomes.add('refused')
  }
  expect(process.cpuUsage(began).user / 1000, 'milliseconds').toBeLessThan(5000)
  expect((process.resourceUsage().maxRSS - memory) / 1024, 'MiB').toBeLessThan(1024)
}

const schemaMessage = /^(JSON schema, |pattern |the grammar |rule )/
const grammarMessage = /^(grammar: |the grammar |rule )/

const schemas: readonly object[] = [
  {
    type: 'object',
    properties: { name: { type: 'string', maxLength: 9 }, n: { type: 'array', items: { type: 'number' } } },
    required: ['name'],
    additionalProperties: false,
  },
  {
    anyOf: [{ type: 'integer', minimum: -3, maximum: 1200 }, { const: { a: [1] } }, { enum: ['x', 2, null] }],
  },
  { $defs: { tree: { type: 'array', items: { $ref: '#/$defs/tree' }, maxItems: 3 } }, $ref: '#/$defs/tree' },
  { type: ['string', 'null'], pattern: '^[a-z]+(?:-[0-9]{2,3})*$' },
  {
    oneOf: [
      { type: 'object', properties: { kind: { const: 'a' } }, required: ['kind'] },
      {
        type: 'object',
        properties: { kind: { const: 'b' }, prefix: { prefixItems: [true] } },
        required: ['kind'],
      },
    ],
  },
]

describe('JSON schemas', () => {
  it('with parts changed', () => {
    outcomes.clear()
    const sample = fc.constantFrom(...schemas).map((schema) => structuredClone(schema))
    fc.assert(
      fc.property(sample, fc.array(change, { maxLength: 3 }), (schema, changes) => {
        const changed = changes.reduce<unknown>(mutated, schema)
        probe(() => schemaGrammar(changed as JsonSchema), schemaMessage)
      }),
      parameters,
    )
    expect(outcomes.size).toBe(2)
  })

  it('made of keywords and strange values', () => {
    const words = [
      ...['type', 'properties', 'required', 'items', 'prefixItems', 'minItems', 'maxItems', 'enum', 'const'],
      ...[
        '$ref',
        '$defs',
        'anyOf',
        'oneOf',
        'allOf',
        'pattern',
        'minLength',
        'maxLength',
        'minimum',
        'maximum',
      ],
      ...['exclusiveMinimum', 'additionalProperties', 'format', '__proto__', 'not'],
    ]
    const types = fc.constantFrom('string', 'integer', 'number', 'object', 'array', 'boolean', 'null')
    const counts = fc.constantFrom(0, 1, 3, 1e6, 1e15, -1, 0.5, Number.MAX_SAFE_INTEGER)
    const references = fc.constantFrom('#', '#/$defs/a', '#/properties/name', '#/x/~0/~1', 'http://x', '')
    const { schema } = fc.letrec<{ schema: unknown; value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        types,
        counts,
        references,
        strange,
        tie('schema'),
        fc.array(tie('schema'), { maxLength: 3 }),
      ),
      schema: fc.dictionary(fc.constantFrom(...words), tie('value'), { maxKeys: 4, noNullPrototype: true }),
    }))
    fc.assert(
      fc.property(schema, (value) => probe(() => schemaGrammar(value as JsonSchema), schemaMessage)),
      parameters,
    )
  })

  it('with patterns that are nearly right', () => {
    const pieces = [
      ...'abz09.^$|()[]{}*+?\\-,',
      '(?:',
      '[^',
      '\\d',
      '\\p{L}',
      '{2,',
      '{1000000}',
      '{9,1}',
      '\\u0041',
      '🙂',
      ']]',
    ]
    const pattern = fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.oneof(pattern, fc.string({ unit: 'binary' })), (text) =>
        probe(() => schemaGrammar({ type: 'string', pattern: text }), schemaMessage),
      ),
      parameters,
    )
  })
})

describe('GBNF', () => {
  const sample = `root ::= "yes" ws number | [^a-z\\n]+ name?  # a comment
name ::= "\\x41\\u00e9" ( [0-9a-fA-F] | "-" | . ){2,3}
number ::= "-"? [0-9]+ ("." [0-9]*)?
ws ::= [ \\t]*
`

  it('with bytes changed', () => {
    outcomes.clear()
    fc.assert(
      fc.property(damage, (changes) => {
        const text = damaged(Buffer.from(sample), changes).toString('latin1')
        probe(() => parseGbnf(text), grammarMessage)
      }),
      parameters,
    )
    expect(outcomes.size).toBe(2)
  })

  it('made of its own symbols', () => {
    const pieces = [
      ...['root', '::=', '\n', '|', '(', ')', '*', '+', '?', '{2}', '{0,3}', '{3,1}', '{999999}', '.', ' '],
      ...['"a"', '"', '[a-z]', '[^', ']', 'name', '#', '\\', '<think>', 'root ::= root "a"', 'name ::= name'],
      ...[
        '"\\U0001F642"',
        '"\\UFFFFFFFF"',
        '[\\uD800-\\uDFFF]',
        '("a"*)*',
        '(name*)+',
        'root ::= name\nname ::= "b" root?\n',
      ],
    ]
    const text = fc.array(fc.constantFrom(...pieces), { maxLength: 20 })
    fc.assert(
      fc.property(text, fc.constantFrom('', 'root ::= '), (parts, head) =>
        probe(() => parseGbnf(head + parts.join(' ')), grammarMessage),
      ),
      parameters,
    )
  })
})
