/** Methods asked for by text: what is understood, what is refused and why, and how rules and edits come together. */
import { afterAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { tensor } from '../../src/array/index.ts'
import { complete, type RuleMaker } from '../../src/decode/index.ts'
import { type Method, method, parseMethodSpec, readMethodOptions } from '../../src/method/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { withMethods } from '../../src/registry/with.ts'
import { alongDirection, type Steer } from '../../src/steer/index.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = Model.open(fixture('llama-tiny'), engine)

const common = { title: '', source: '', summary: '' }
const push = method({
  id: 'push',
  socket: 'edit',
  ...common,
  options: z.strictObject({
    strength: z.number().default(1).describe('How far'),
    layers: z.array(z.int().nonnegative()).default([0]),
    file: z.string().optional(),
    both: z.boolean().default(false),
    way: z.enum(['up', 'down']).default('up'),
    needed: z.int().positive().optional(),
  }),
  make:
    ({ strength, layers }): Steer =>
    async ({ spec }) =>
      Object.fromEntries(
        layers.map((layer) => [
          `blocks.${layer}.hook_resid_post`,
          alongDirection(tensor(new Float32Array(spec.width).fill(1)), strength),
        ]),
      ),
})
/** Forbids all but the token after the last: 7, 8, 9 ... counted for each row alone. */
const count = method({
  id: 'count',
  socket: 'rule',
  ...common,
  options: z.strictObject({ from: z.int().describe('The first token') }),
  make:
    ({ from }) =>
    async (): Promise<RuleMaker> => ({
      rule() {
        let next = from
        return (logits) => {
          logits.fill(Number.NEGATIVE_INFINITY)
          logits[next++] = 0
        }
      },
    }),
})
const other = method({
  id: 'loss',
  socket: 'objective',
  ...common,
  options: z.strictObject({}),
  make: () => null,
})
const methods = Object.fromEntries(
  [push, count, other].map((one) => [one.id, async () => one as unknown as Method]),
)
const open = (specs: readonly string[], draws = true) => withMethods(model, specs, { methods, draws })

describe('a spec', () => {
  const read = (text: string) => readMethodOptions(parseMethodSpec(text), push.options)

  it('is an id and options of every kind', () => {
    expect(read('push')).toEqual({ strength: 1, layers: [0], both: false, way: 'up' })
    expect(read('push:')).toEqual(read('push'))
    expect(read('push:strength=-1.5,layers=1,2,3,both=true,way=down,file=a=b.gguf,c')).toEqual({
      strength: -1.5,
      layers: [1, 2, 3],
      both: true,
      way: 'down',
      file: 'a=b.gguf,c',
    })
  })

  it.each([
    ['', "'' names no method: write id:key=value,key=value"],
    ['push:3', "push: '3' is no option: write key=value"],
    ['push:=3', "push: '=3' is no option: write key=value"],
    ['push:strength=1,strength=2', "push: 'strength' is given twice"],
    [
      'push:strenght=1',
      "push: there is no option 'strenght'; did you mean 'strength'?; there are: strength, layers, file, both, way, needed",
    ],
    ['push:strength=much', "push: strength=much: 'much' is not a number"],
    ['push:strength=', 'push: strength=: a number is missing'],
    ['push:both=yes', 'push: both=yes: must be true or false'],
    ['push:way=left', 'push: way=left: must be up or down'],
    ['push:layers=1,x', "push: layers=1,x: 'x' is not a number"],
    ['push:layers=-1', 'push: layers=-1: must be at least 0'],
    ['push:needed=0.5', 'push: needed=0.5: must be a whole number'],
  ])('%s: %s', (text, message) => {
    expect(() => read(text)).toThrow(message)
  })
})

describe('methods of a model that runs', () => {
  it('come together in their order', async () => {
    const { edit, rules } = await open(['push:layers=0,1', 'count:from=7', 'push:strength=2'])
    expect(Object.keys(edit)).toEqual(['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post'])
    const strengths = [edit['blocks.0.hook_resid_post']!]
      .flat()
      .map((one) =>
        typeof one === 'function' ? 0 : (one.args as { strength: { item(): number } }).strength.item(),
      )
    expect(strengths).toEqual([1, 2])
    // Each row has a rule of its own.
    const texts = await complete(
      model.edited(edit),
      [[3], [4, 5]],
      { temperature: 0, maxTokens: 3, stopTokens: [] },
      { rules },
    )
    expect(texts.map(({ tokens }) => tokens)).toEqual([
      [7, 8, 9],
      [7, 8, 9],
    ])
  })

  it.each([
    ['pusch', "there is no method 'pusch'; did you mean push?"],
    ['elephant', "there is no method 'elephant'; there are: push, count"],
    ['loss', "loss is a method of the socket 'objective': objectives are for training"],
    ['count', "count: the option 'from' is missing (The first token); there are: from"],
    ['push:strength=1e999', /push: /],
  ])('%s: %s', async (spec, message) => {
    await expect(open([spec])).rejects.toThrow(message)
  })

  it('are no rules where nothing is drawn', async () => {
    await expect(open(['count:from=1'], false)).rejects.toThrow(
      'count is a rule for drawing tokens, and none are drawn here',
    )
  })
})
