import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { random } from '../../array/index.ts'
import { load, Model } from '../../model/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { loadTokenizer, parseToolCalls, type ToolCallFormat } from '../../text/index.ts'
import { complete } from '../generate.ts'
import { argMax } from '../logits.ts'
import {
  constraint,
  type JsonSchema,
  type OutputForm,
  parseGbnf,
  schemaGrammar,
  toolCallGrammar,
} from './index.ts'
import { Machine } from './machine.ts'

const tokenizer = loadTokenizer('models/starter')
const eos = tokenizer.eos!
const engine = new Engine(nodeRuntime())
const model = new Model({ engine, ...load('models/starter') })
afterAll(() => engine.dispose())

/** Whether a machine takes a whole text. */
function accepts(machine: Machine, text: string): boolean {
  return machine.read(machine.start, new TextEncoder().encode(text))?.accepting ?? false
}
const gbnf = (source: string) => new Machine(parseGbnf(source))
const json = (schema: JsonSchema) => new Machine(schemaGrammar(schema))

/** What random tokens, of those that the constraint permits, add up to. */
function randomText(form: OutputForm, seed: number, most = 4000): string | undefined {
  const rule = constraint(tokenizer, form).rule([eos])
  const uniform = random.generator(seed)
  const tokens = [eos]
  while (tokens.length < most) {
    const logits = Float32Array.from({ length: tokenizer.vocabSize }, uniform)
    rule(logits, { tokens, promptLength: 0, random: () => 0 })
    const token = argMax(logits)
    if (token === eos) return tokenizer.decode(tokens.slice(1))
    tokens.push(token)
  }
  return undefined
}

describe('GBNF', () => {
  test('reads literals, classes, groups, repetitions and comments', () => {
    const machine = gbnf(String.raw`# a comment
root ::= greeting (", " name)* "!"{1,2}   # another
greeting ::= "Hello" | "H" [i\u0301-\u0303] |
  "\x48ey\n"
name ::= [A-Z] [^A-Z ,!]+ .?
`)
    for (const text of ['Hello!', 'Hi!!', 'Hey\n!', 'Hello, Ann, Bjørn🙂!', 'Hello, AnnX!'])
      expect(accepts(machine, text), text).toBe(true)
    for (const text of ['Hello', 'Hello!!!', 'hello!', 'Hello, ann!', 'Hello, A!', ''])
      expect(accepts(machine, text), text).toBe(false)
  })

  test('knows languages that no regular expression does', () => {
    const machine = gbnf('root ::= "(" root ")" | ""')
    expect(accepts(machine, '('.repeat(500) + ')'.repeat(500))).toBe(true)
    expect(accepts(machine, '(()')).toBe(false)
  })

  test.each([
    ['root ::= "a', 'line 1, column 12: a text that begins with " has no end'],
    ['start ::= "a"', "there is no rule 'root'"],
    ['root ::= other', "no rule 'other'"],
    ['root ::= root "a" | "b"', "rule 'root' begins with itself"],
    ['root ::= a root\na ::= "x"?', "rule 'root' begins with itself"],
    ['root ::= "a" )', 'expected the end of the rule'],
    ['root ::= <think>', 'references to tokens are not supported'],
    ['root ::= "a"{3,2}', 'the second number is the smaller one'],
  ])('refuses %j', (source, message) => {
    expect(() => gbnf(source)).toThrow(message)
  })
})

describe('JSON schemas', () => {
  test('permit what is valid and nothing else', () => {
    const person = json({
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 3 },
        age: { type: 'integer', minimum: -5, maximum: 120 },
        tag: { enum: ['a', 1, null] },
      },
      required: ['name'],
    })
    for (const text of [
      '{"name":"Al\\u00e9"}',
      '{"name": "", "age": 120}',
      '{"name":"x","age":-5,"tag":null}',
      '{"name":"🙂🙂🙂"}',
    ])
      expect(accepts(person, text), text).toBe(true)
    for (const text of [
      '{}',
      '{"age":3}',
      '{"name":"four"}',
      '{"name":"x","age":121}',
      '{"name":"x","age":-6}',
      '{"name":"x","age":01}',
      '{"name":"x",}',
      '{"name":"x","other":1}',
      '{"name":"\\ud83d"}',
      '{"name":"x","tag":"b"}',
    ])
      expect(accepts(person, text), text).toBe(false)
  })

  test('refer to themselves', () => {
    const tree = json({
      $ref: '#/$defs/tree',
      $defs: {
        tree: {
          type: 'object',
          properties: { children: { type: 'array', items: { $ref: '#/$defs/tree' } } },
          required: ['children'],
        },
      },
    })
    expect(accepts(tree, '{"children": [{"children": []}, {"children": [{"children": []}]}]}')).toBe(true)
    expect(accepts(tree, '{"children": [{}]}')).toBe(false)
  })

  test('give other properties other names', () => {
    const machine = json({
      type: 'object',
      properties: { ab: { type: 'null' } },
      additionalProperties: { type: 'boolean' },
    })
    for (const key of ['a', 'abc', 'b', 'é', '']) expect(accepts(machine, `{"${key}":true}`), key).toBe(true)
    expect(accepts(machine, '{"ab":null,"x":false}')).toBe(true)
    expect(accepts(machine, '{"ab":true}')).toBe(false)
    expect(accepts(machine, '{"\\u0061b":true}')).toBe(false)
  })

  test('permit exactly the integers of a range', () => {
    const bound = fc.integer({ min: -2000, max: 2000 })
    fc.assert(
      fc.property(bound, bound, (a, b) => {
        const [minimum, maximum] = [Math.min(a, b), Math.max(a, b)]
        const machine = json({ type: 'integer', minimum, maximum })
        for (const n of [
          minimum - 1,
          minimum,
          minimum + 1,
          0,
          -1,
          9,
          10,
          99,
          100,
          maximum - 1,
          maximum,
          maximum + 1,
        ])
          expect(accepts(machine, `${n}`), `${n} in ${minimum} to ${maximum}`).toBe(
            n >= minimum && n <= maximum,
          )
      }),
    )
  })

  test.each([
    [String.raw`^[A-Z][a-z]{1,5}(-\d+)?$`, ['Ab', 'Abc-12'], ['ab', 'Ab-', 'xAb']],
    ['^a|b$', ['abc', 'xb'], ['xa', 'bx']],
    ['cat', ['a cat sat'], ['dog']],
    [String.raw`^("|\\|\n|[^\w\s])*$`, ['"\\\n!', ''], ['a', ' ']],
    [String.raw`^(?:\u00e9|\x41|\S.){2}$`, ['éA', 'A🙂é'], ['A', ' xA']],
  ])('permit strings of the pattern %s', (pattern, good, bad) => {
    const machine = json({ type: 'string', pattern })
    for (const value of good) expect(accepts(machine, JSON.stringify(value)), value).toBe(true)
    for (const value of bad) expect(accepts(machine, JSON.stringify(value)), value).toBe(false)
    const short = pattern.replaceAll('+', '{1,3}').replaceAll('*', '{0,3}')
    for (let seed = 0; seed < 20 && short.startsWith('^') && !short.includes('|b'); seed++) {
      const text = randomText({ jsonSchema: { type: 'string', pattern: short } }, seed)
      expect(JSON.parse(text!)).toMatch(new RegExp(short, 'u'))
    }
  })

  test.each<[JsonSchema, string]>([
    [{ type: 'string', pattern: '(?=a)' }, 'only (?: ) groups are supported'],
    [{ type: 'string', pattern: 'a\\b' }, 'is not supported'],
    [{ type: 'string', pattern: '(^a)' }, 'only at the ends'],
    [{ type: 'string', pattern: '(a' }, 'expected )'],
    [{ type: 'string', format: 'email' }, "#: the keyword 'format' is not supported for string"],
    [{ type: 'array', items: { multipleOf: 3 } }, "#/items: the keyword 'multipleOf' is not supported"],
    [{ type: 'number', minimum: 0 }, "the keyword 'minimum' is not supported for number"],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, "may overlap: use 'anyOf'"],
    [{ anyOf: [{ type: 'null' }], type: 'null' }, "'type' beside 'anyOf' is not supported"],
    [{ $ref: 'https://example.org' }, 'outside of the schema'],
    [{ $ref: '#/$defs/none' }, "'$ref' leads nowhere"],
    [{ $ref: '#' }, 'begins with itself'],
    [{ type: 'integer', minimum: 3, maximum: 2 }, 'no whole number from 3 to 2'],
    [false, 'allows no value'],
    [{ type: 'text' }, 'there is no type "text"'],
  ])('refuse %j', (schema, message) => {
    expect(() => json(schema)).toThrow(message)
  })
})

/** Schemas whose texts end: nothing in them is without bounds. */
const { schema: anySchema } = fc.letrec<{ schema: object; leaf: object; tree: object }>((tie) => ({
  leaf: fc.oneof(
    fc.constant({ type: 'boolean' }),
    fc.constant({ type: 'null' }),
    fc.constant({ type: 'number' }),
    fc.constant({ type: 'integer' }),
    fc
      .tuple(fc.integer({ min: -300, max: 300 }), fc.nat(1000))
      .map(([minimum, more]) => ({ type: 'integer', minimum, maximum: minimum + more })),
    fc
      .tuple(fc.nat(3), fc.nat(5))
      .map(([minLength, more]) => ({ type: 'string', minLength, maxLength: minLength + more })),
    fc
      .array(fc.oneof(fc.string({ maxLength: 5 }), fc.integer(), fc.constant(null)), {
        minLength: 1,
        maxLength: 3,
      })
      .map((values) => ({ enum: values })),
    fc.string({ unit: 'grapheme', maxLength: 6 }).map((value) => ({ const: value })),
  ),
  tree: fc.oneof(
    fc
      .tuple(tie('schema'), fc.nat(2), fc.nat(2))
      .map(([items, minItems, more]) => ({ type: 'array', items, minItems, maxItems: minItems + more })),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc
      .dictionary(
        fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 4 }),
        fc.tuple(tie('schema'), fc.boolean()),
        { maxKeys: 4, noNullPrototype: true },
      )
      .filter((properties) => !('__proto__' in properties && Object.hasOwn(properties, '__proto__')))
      .map((entries) => ({
        type: 'object',
        properties: Object.fromEntries(Object.entries(entries).map(([name, [value]]) => [name, value])),
        required: Object.keys(entries).filter((name) => entries[name]![1]),
        additionalProperties: false,
      })),
  ),
  schema: fc.oneof({ depthSize: 'small', withCrossShrink: true }, tie('leaf'), tie('tree')),
}))

const validates = (schema: object, value: unknown): boolean =>
  z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]).safeParse(value).success

describe('a constraint', () => {
  test('leads any tokens to JSON that is valid, by another validator', () => {
    fc.assert(
      fc.property(anySchema, fc.nat(1e6), (schema, seed) => {
        const text = randomText({ jsonSchema: schema as JsonSchema }, seed)
        expect(text).toBeDefined()
        expect(validates(schema, JSON.parse(text!)), `${text} by ${JSON.stringify(schema)}`).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  test('leads the model to valid JSON at a high temperature', async () => {
    const schema = {
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 12 },
        age: { type: 'integer', minimum: 1, maximum: 99 },
        pets: { type: 'array', maxItems: 2, items: { enum: ['cat', 'dog'] } },
      },
      required: ['name', 'age', 'pets'],
    }
    const constrain = constraint(tokenizer, { jsonSchema: schema })
    const prompts = ['Once upon a time', 'Lily', 'The dog']
    for (const seed of [1, 2, 3])
      for (const { text, finish } of await complete(
        model,
        prompts,
        { seed, temperature: 2, maxTokens: 200, topK: 5 },
        { constrain },
      )) {
        expect(finish).toBe('stop')
        expect(validates(schema, JSON.parse(text)), text).toBe(true)
      }
  })

  test('that permits everything changes nothing', async () => {
    const options = { temperature: 0, maxTokens: 40 }
    const constrain = constraint(tokenizer, { grammar: 'root ::= .*' })
    const [free] = await complete(model, ['Once upon a time'], options)
    const [constrained] = await complete(model, ['Once upon a time'], options, { constrain })
    expect(constrained!.tokens).toEqual(free!.tokens)
  })

  test('ends exactly where the grammar may', () => {
    const rule = constraint(tokenizer, { grammar: 'root ::= "a" "b"?' }).rule([eos])
    const tokens = [eos]
    const possible = () => {
      const logits = new Float32Array(tokenizer.vocabSize)
      rule(logits, { tokens, promptLength: 0, random: () => 0 })
      return [...logits.keys()]
        .filter((id) => logits[id] === 0)
        .map((id) => (id === eos ? 'end' : tokenizer.decode([id])))
    }
    expect(possible().sort()).toEqual(['a', tokenizer.id('ab') === undefined ? [] : 'ab'].flat())
    tokens.push(tokenizer.id('a')!)
    expect(possible().sort()).toEqual(['b', 'end'])
    tokens.push(tokenizer.id('b')!)
    expect(possible()).toEqual(['end'])
  })
})

describe('calls of tools', () => {
  const point = {
    type: 'object',
    properties: { at: { $ref: '#/$defs/point' } },
    required: ['at'],
    $defs: {
      point: {
        type: 'object',
        properties: { x: { type: 'integer', minimum: 0, maximum: 9 }, y: { type: 'boolean' } },
        required: ['x', 'y'],
      },
    },
  }
  const calls = [{ name: 'now' }, { name: 'go', parameters: point }]

  test.each(['hermes', 'mistral', 'llama'] as ToolCallFormat[])(
    'random tokens make one call in the notation of %s',
    (format) => {
      const names = new Set<string>()
      for (let seed = 0; seed < 20; seed++) {
        const { content, calls: made } = parseToolCalls(randomText({ calls, format }, seed)!, format)
        expect([content, made.length]).toEqual(['', 1])
        const [{ name, arguments: given }] = made as [(typeof made)[number]]
        names.add(name)
        if (name === 'now') expect(given).toEqual({})
        else {
          const { x, y } = given.at as { x: number; y: boolean }
          expect([Number.isInteger(x) && x >= 0 && x <= 9, typeof y]).toEqual([true, 'boolean'])
        }
      }
      expect([...names].sort()).toEqual(['go', 'now'])
    },
  )

  test('other calls are not permitted', () => {
    const machine = new Machine(toolCallGrammar(calls, 'llama'))
    expect(accepts(machine, '{"name": "now", "parameters": {}}')).toBe(true)
    expect(accepts(machine, '{"name": "then", "parameters": {}}')).toBe(false)
    expect(accepts(machine, '{"name": "now", "parameters": {"a": 1}}')).toBe(false)
    expect(accepts(machine, 'Well: {"name": "now", "parameters": {}}')).toBe(false)
    // Without a schema of its own any object is meant.
    const open = new Machine(toolCallGrammar([{ name: 'f', parameters: {} }], 'llama'))
    expect(accepts(open, '{"name": "f", "parameters": {"a": [1]}}')).toBe(true)
    expect(accepts(open, '{"name": "f", "parameters": 1}')).toBe(false)
    expect(() => toolCallGrammar([], 'llama')).toThrow('at least one tool')
  })
})
