/** Continuous batching: what each row gets is what it gets alone. */
import { afterAll, describe, expect, it } from 'vitest'
import { random, tensor } from '../../src/array/index.ts'
import { complete, constraint, type GenerateEvent, type GenerateOptions } from '../../src/decode/index.ts'
import { attach, type Edits, Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { type BatchContext, Batcher, QueueFull } from '../../src/serve/batch/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import { prefixTuning } from '../../src/train/index.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

interface Answer {
  readonly tokens: number[]
  readonly text: string
  readonly finish: GenerateEvent['finish']
}

async function collect(events: AsyncIterable<GenerateEvent>): Promise<Answer> {
  const tokens: number[] = []
  let text = ''
  let finish: GenerateEvent['finish']
  for await (const event of events) {
    text += event.text
    if (event.token !== undefined) tokens.push(event.token)
    finish = event.finish ?? finish
  }
  return { tokens, text, finish }
}

/** Prompts of many lengths, the same ones each time. */
function promptsOf(model: Model, count: number, longest = 40): number[][] {
  const uniform = random.generator(7)
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + Math.floor(uniform() * longest) }, () =>
      Math.floor(uniform() * model.spec.vocab),
    ),
  )
}

async function alone(
  model: Model,
  prompt: readonly number[],
  options: GenerateOptions,
  edit?: Edits,
): Promise<Answer> {
  const [{ tokens, text, finish }] = (await complete(model, [prompt], options, {
    ...(edit && { edit }),
  })) as [Awaited<ReturnType<typeof complete>>[0]]
  return { tokens: [...tokens], text, finish }
}

describe.each([
  'llama-tiny',
  'gpt2-tiny',
  'families/gemma2',
  'families/phi',
  'families/mixtral',
  'families/mamba',
])('%s', (name) => {
  const model = Model.open(fixture(name), engine)

  it('gives rows of different lengths, that come and go, what each gets alone', async () => {
    const batcher = new Batcher(model, { slots: 5, chunk: 16 })
    const prompts = promptsOf(model, 17, 30)
    const options = prompts.map(
      (_, i): GenerateOptions => ({
        maxTokens: 3 + ((i * 7) % 13),
        stopTokens: [],
        ...(i % 3 === 2 ? { temperature: 1, seed: i } : { temperature: 0 }),
      }),
    )
    const answers = await Promise.all(
      prompts.map((prompt, i) => collect(batcher.generate(prompt, options[i]))),
    )
    for (const [i, answer] of answers.entries())
      expect(answer, `row ${i}`).toEqual(await alone(model, prompts[i]!, options[i]!))
    expect(batcher.stats).toMatchObject({ running: 0, queued: 0 })
    await batcher.close()
  })
})

describe('the bundled model', () => {
  const path = bundledModel('tiny')!
  const open = Model.open(path, engine)
  const sealed = seal(Model.open(path, engine), { weights: 'int4' })
  const starts = ['Once upon a time', 'The little dog', 'One day, a boy named Tim', '"Hello," said the']
  const options: GenerateOptions = { maxTokens: 40, temperature: 0 }
  const encode = (text: string): number[] => open.tokenizer!.encode(text).ids

  it.each([
    ['open', open],
    ['int4', sealed],
  ])('writes the greedy text of one prompt alone in a full batch too: %s', async (_, model) => {
    const batcher = new Batcher(model, { slots: 8 })
    const prompts = Array.from({ length: 24 }, (_, i) =>
      encode(`${starts[i % 4]!} ${'and so '.repeat(i % 5)}`),
    )
    const answers = await Promise.all(prompts.map((prompt) => collect(batcher.generate(prompt, options))))
    for (const [i, answer] of answers.entries())
      expect(answer).toEqual(await alone(model, prompts[i]!, options))
    await batcher.close()
  })

  it('reads on where a prompt begins like one that is remembered, running or done', async () => {
    const batcher = new Batcher(open, { slots: 4 })
    const first = encode('Once upon a time there was a girl named Lily who had a red ball.')
    const running = batcher.generate(first, { ...options, maxTokens: 100, stopTokens: [] })
    const events = [(await running.next()).value as GenerateEvent]
    // Beside the running row: a copy of what they share.
    const second = [...first.slice(0, -1), ...encode(' and a dog')]
    expect(await collect(batcher.generate(second, options))).toEqual(await alone(open, second, options))
    expect(batcher.stats.reusedTokens).toBe(first.length - 1)
    // A conversation: what was answered belongs to the next prompt.
    for await (const event of running) events.push(event)
    const answer = events.flatMap(({ token }) => token ?? [])
    expect(answer).toEqual((await alone(open, first, { ...options, maxTokens: 100, stopTokens: [] })).tokens)
    const third = [...first, ...answer, ...encode(' The end')]
    expect(await collect(batcher.generate(third, options))).toEqual(await alone(open, third, options))
    // All but the last token, which was never read.
    expect(batcher.stats.reusedTokens).toBe(first.length - 1 + first.length + answer.length - 1)
    await batcher.close()
  })

  it('takes stop texts, penalties, log-probabilities and constraints of each row for itself', async () => {
    const batcher = new Batcher(open, { slots: 4 })
    const prompt = encode('Once upon a time')
    const digits = constraint(open.tokenizer!, { grammar: 'root ::= [0-9]{5}' })
    const cases: [GenerateOptions, BatchContext][] = [
      [{ ...options, stop: [' a '] }, {}],
      [{ ...options, repetitionPenalty: 1.5 }, {}],
      [{ maxTokens: 20, temperature: 0.9, topP: 0.9, seed: 5 }, {}],
      [{ ...options }, { constrain: digits }],
    ]
    const answers = await Promise.all(
      cases.map(([own, more]) => collect(batcher.generate(prompt, own, more))),
    )
    for (const [i, [own, more]] of cases.entries()) {
      const [{ tokens, text, finish }] = (await complete(open, [prompt], own, more)) as [
        Awaited<ReturnType<typeof complete>>[0],
      ]
      expect(answers[i]).toEqual({ tokens: [...tokens], text, finish })
    }
    expect(answers[3]!.text).toMatch(/^\d{5}$/)
    const [scored] = await complete(open, [prompt], { ...options, maxTokens: 3, logprobs: 2 })
    let i = 0
    for await (const { token, logprob, top } of batcher.generate(prompt, {
      ...options,
      maxTokens: 3,
      logprobs: 2,
    }))
      if (token !== undefined) {
        expect(logprob).toBeCloseTo(scored!.logprobs![i]!.logprob, 4)
        expect(top!.map((one) => one.token)).toEqual(scored!.logprobs![i++]!.top.map((one) => one.token))
      }
    expect(i).toBe(3)
    await batcher.close()
  })

  it('runs rows under different edits side by side, those of the same edits in one batch', async () => {
    const batcher = new Batcher(open, { slots: 4 })
    const site = 'blocks.1.hook_resid_post'
    const { width } = open.spec
    const add = (x: ReturnType<typeof tensor>, { v }: { v: ReturnType<typeof tensor> }) => x.add(v)
    const edits = [undefined, 3, 3, -3, 6].map((strength): Edits | undefined =>
      strength === undefined
        ? undefined
        : {
            [site]: {
              apply: add,
              args: {
                v: tensor(Float32Array.from({ length: width }, (_, i) => (i % 7 === 0 ? strength : 0))),
              },
            },
          },
    )
    const prompt = encode('The little dog')
    const answers = await Promise.all(
      edits.map((edit) => collect(batcher.generate(prompt, options, { ...(edit && { edit }) }))),
    )
    for (const [i, edit] of edits.entries())
      expect(answers[i], `edit ${i}`).toEqual(await alone(open, prompt, options, edit))
    expect(answers[1]!.text).not.toBe(answers[0]!.text)
    expect(answers[1]).toEqual(answers[2])
    expect(answers[3]!.text).not.toBe(answers[1]!.text)
    await batcher.close()
  })

  it('frees the slot of who leaves or aborts, and goes on with the others', async () => {
    const batcher = new Batcher(open, { slots: 2 })
    const prompt = encode('Once upon a time')
    const long: GenerateOptions = { maxTokens: 400, temperature: 0, stopTokens: [] }
    const leaving = batcher.generate(prompt, long)
    await leaving.next()
    const controller = new AbortController()
    const aborted = collect(batcher.generate(prompt, long, { signal: controller.signal }))
    const waiting = collect(batcher.generate(prompt, options))
    await leaving.return()
    controller.abort(new Error('gone'))
    await expect(aborted).rejects.toThrow('gone')
    expect(await waiting).toEqual(await alone(open, prompt, options))
    await expect.poll(() => batcher.stats.running).toBe(0)
    await expect(
      batcher.generate(prompt, options, { signal: AbortSignal.abort(new Error('before')) }).next(),
    ).rejects.toThrow('before')
    await batcher.close()
  })

  it('refuses what it cannot do, and what does not fit, by numbers', async () => {
    const batcher = new Batcher(open, { slots: 1, queue: 2 })
    const prompt = encode('Once')
    const all = Array.from({ length: 3 }, () => batcher.generate(prompt, { ...options, maxTokens: 200 }))
    const first = all[0]!.next()
    await first
    const rest = [all[1]!.next(), all[2]!.next()]
    await expect(batcher.generate(prompt).next()).rejects.toThrow(QueueFull)
    for (const stream of all) await stream.return()
    await Promise.allSettled(rest)
    await expect(batcher.generate(prompt, { samples: 2 }).next()).rejects.toThrow('takes no samples')
    await expect(batcher.generate(prompt, { beams: 2, temperature: 0 }).next()).rejects.toThrow(
      'takes no beams',
    )
    await expect(batcher.generate([4096]).next()).rejects.toThrow('outside the vocabulary')
    await expect(batcher.generate(new Array(513).fill(5)).next()).rejects.toThrow('513')
    await batcher.close()
    await expect(batcher.generate(prompt).next()).rejects.toThrow('closed')
    const small = new Batcher(open, { memory: 100_000 })
    await expect(small.generate(prompt, { maxTokens: 300 }).next()).rejects.toThrow(/bytes of cache/)
    expect((await collect(small.generate(prompt, { ...options, maxTokens: 10 }))).tokens).toHaveLength(10)
    await small.close()
    expect(() => new Batcher(open, { slots: 0 })).toThrow('slots 0')
  })

  it('widens its slots for long rows, with those that run kept, and bounds them by memory', async () => {
    // Room for three slots of 256 positions, or for one of 512.
    const bytes = (model: Model): number =>
      model.newCache(1, 1).reduce((sum, layer) => sum + ('keys' in layer ? 8 * layer.keys.data.length : 0), 0)
    const batcher = new Batcher(open, { slots: 8, memory: 3 * 256 * bytes(open) })
    const prompt = encode('Once upon a time')
    const short = { ...options, maxTokens: 60, stopTokens: [] }
    const long = { ...options, maxTokens: 400, stopTokens: [] }
    const answers = await Promise.all([
      collect(batcher.generate(prompt, short)),
      collect(batcher.generate(prompt, short)),
      collect(batcher.generate(prompt, long)),
      collect(batcher.generate(prompt, short)),
    ])
    const [brief, whole] = [await alone(open, prompt, short), await alone(open, prompt, long)]
    expect(answers).toEqual([brief, brief, whole, brief])
    await batcher.close()
  })

  it('lets callers take turns', async () => {
    const batcher = new Batcher(open, { slots: 1 })
    const prompt = encode('Once')
    const order: string[] = []
    const ask = async (caller: string): Promise<void> => {
      await collect(batcher.generate(prompt, { ...options, maxTokens: 5, stopTokens: [] }, { caller }))
      order.push(caller)
    }
    await Promise.all(['a', 'a', 'a', 'a', 'b', 'b'].map(ask))
    expect(order.slice(0, 4).sort()).toEqual(['a', 'a', 'b', 'b'])
    await batcher.close()
  })
})

describe('a prefix before the tokens', () => {
  it('is in every slot, fresh or used again', async () => {
    const model = Model.open(fixture('llama-tiny'), engine)
    const prefixed = await attach(model, [await prefixTuning(model, { length: 3, seed: 5 })])
    expect(prefixed.prefixLength).toBe(3)
    const batcher = new Batcher(prefixed, { slots: 2 })
    const prompts = promptsOf(prefixed, 7, 12)
    const options: GenerateOptions = { maxTokens: 8, temperature: 0, stopTokens: [] }
    const answers = await Promise.all(prompts.map((prompt) => collect(batcher.generate(prompt, options))))
    for (const [i, answer] of answers.entries())
      expect(answer).toEqual(await alone(prefixed, prompts[i]!, options))
    await batcher.close()
  })
})
