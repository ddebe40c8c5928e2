/** Going on from the cache of the prompt before: the same text as from the beginning, and less to read. */
import { afterAll, describe, expect, it, vi } from 'vitest'
import { random, tensor } from '../../src/array/index.ts'
import { complete, type GenerateOptions, generate, PromptCache } from '../../src/decode/index.ts'
import { Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const first = [7, 20, 33, 46, 59, 3, 11, 24]
const options = (more: GenerateOptions): GenerateOptions => ({ maxTokens: 6, stopTokens: [], ...more })
const kinds = { greedy: { temperature: 0 }, seeded: { temperature: 1, seed: 3 } }

/** The tokens that `step` was given, prompt by prompt. */
function watch(model: Model): () => number {
  const step = vi.spyOn(model, 'step')
  return () => {
    const read = step.mock.calls.map(([{ tokens }]) => tokens.sizes[1]!)
    step.mockClear()
    return read[0] ?? 0
  }
}

describe.each([
  'llama-tiny',
  'gpt2-tiny',
  'families/mistral',
  'families/gemma2',
  'families/gemma3',
  'families/phi',
  'families/gpt-neox',
  'families/qwen3',
  'families/mixtral',
  'families/opt',
])('%s', (name) => {
  const model = Model.open(fixture(name), engine)
  const read = watch(model)

  it.each(Object.entries(kinds))('writes the same %s text with a cache as without', async (_, kind) => {
    const promptCache = new PromptCache()
    let prompt = first
    for (const [turn, more] of [[], [5, 9], [61, 2, 14]].entries()) {
      prompt = [...prompt, ...more]
      const [expected] = await complete(model, [prompt], options(kind))
      expect(read()).toBe(prompt.length)
      const [answer] = await complete(model, [prompt], options(kind), { promptCache })
      // All of the turn before is known but for its last token, which was never read.
      const known = turn === 0 ? 0 : prompt.length - more.length - 1
      expect(promptCache.reused).toBe(known)
      expect(read()).toBe(prompt.length - known)
      expect(answer!.tokens).toEqual(expected!.tokens)
      prompt = [...prompt, ...answer!.tokens]
    }
  })

  it('takes back what another prompt does not have', async () => {
    const promptCache = new PromptCache()
    await complete(model, [first], options(kinds.greedy), { promptCache })
    const other = [...first.slice(0, 5), 40, 41, 42]
    const [expected] = await complete(model, [other], options(kinds.greedy))
    const [answer] = await complete(model, [other], options(kinds.greedy), { promptCache })
    expect(promptCache.reused).toBe(5)
    expect(answer!.tokens).toEqual(expected!.tokens)
    // The same prompt again: its last token is read, for there are no logits in a cache.
    await complete(model, [other], options(kinds.greedy), { promptCache })
    expect(promptCache.reused).toBe(other.length - 1)
  })
})

describe.each(['families/mamba', 'families/mamba-bias'])('%s', (name) => {
  const model = Model.open(fixture(name), engine)

  it.each(Object.entries(kinds))('goes on from its state alone: %s', async (_, kind) => {
    const promptCache = new PromptCache()
    const [answer] = await complete(model, [first], options(kind), { promptCache })
    const longer = [...first, ...answer!.tokens, 5, 9]
    const [expected] = await complete(model, [longer], options(kind))
    const [next] = await complete(model, [longer], options(kind), { promptCache })
    expect(promptCache.reused).toBe(longer.length - 3)
    expect(next!.tokens).toEqual(expected!.tokens)

    const other = [...first, 40, 41]
    const [anew] = await complete(model, [other], options(kind))
    const [same] = await complete(model, [other], options(kind), { promptCache })
    expect(promptCache.reused).toBe(0)
    expect(same!.tokens).toEqual(anew!.tokens)
  })
})

describe('a prompt cache', () => {
  const model = Model.open(fixture('llama-tiny'), engine)

  it('serves sealed models and models with a prefix', async () => {
    const { keyValueHeads, headSize } = model.spec.attention!
    const sizes = [3, model.spec.layers, 2, keyValueHeads, headSize]
    const count = sizes.reduce((a, b) => a * b)
    const prefix = tensor(Float32Array.from({ length: count }, random.gaussian(5)), sizes)
    const prefixed = model.adapted([{ params: { prefix }, strength: tensor([1], []) }])
    expect(prefixed.prefixLength).toBe(3)
    for (const view of [seal(model, { weights: 'int8' }), prefixed]) {
      const promptCache = new PromptCache()
      await complete(view, [first], options(kinds.greedy), { promptCache })
      const longer = [...first, 5, 9, 14, 30]
      const [expected] = await complete(view, [longer], options(kinds.greedy))
      const [answer] = await complete(view, [longer], options(kinds.greedy), { promptCache })
      expect(promptCache.reused).toBe(first.length)
      expect(answer!.tokens).toEqual(expected!.tokens)
    }
  })

  it('belongs to one view of a model and to its edits', async () => {
    const promptCache = new PromptCache()
    const edit = { 'blocks.0.hook_mlp_out': (x: { mul(by: number): never }) => x.mul(0) } as never
    const longer = [...first, 5]
    const run = async (view: Model, edits?: never): Promise<void> => {
      const context = edits ? { edit: edits } : {}
      const [expected] = await complete(view, [longer], options(kinds.greedy), context)
      const [answer] = await complete(view, [longer], options(kinds.greedy), { ...context, promptCache })
      expect(answer!.tokens).toEqual(expected!.tokens)
    }
    await run(model)
    await run(model.adapted([]))
    expect(promptCache.reused).toBe(0)
    await run(model)
    expect(promptCache.reused).toBe(0)
    await run(model, edit)
    expect(promptCache.reused).toBe(0)
    await run(model, edit)
    expect(promptCache.reused).toBe(longer.length - 1)
  })

  it('survives a generation that is stopped, and not one that fails', async () => {
    const promptCache = new PromptCache()
    const controller = new AbortController()
    const run = generate(
      model,
      [first],
      { maxTokens: 50, temperature: 0, stopTokens: [] },
      {
        promptCache,
        signal: controller.signal,
      },
    )
    await expect(async () => {
      let count = 0
      for await (const _ of run) if (++count === 4) controller.abort(new Error('stopped'))
    }).rejects.toThrow('stopped')
    expect(promptCache.tokens.length).toBe(first.length + 3)
    for await (const _ of generate(model, [first], options({}), { promptCache })) break
    expect(promptCache.tokens).toEqual(first)

    vi.spyOn(model, 'step').mockRejectedValueOnce(new Error('out of memory'))
    await expect(complete(model, [first], options({}), { promptCache })).rejects.toThrow('out of memory')
    expect(promptCache.tokens).toEqual([])
    const [expected] = await complete(model, [first], options(kinds.greedy))
    const [answer] = await complete(model, [first], options(kinds.greedy), { promptCache })
    expect(answer!.tokens).toEqual(expected!.tokens)
  })

  it('is for one row', async () => {
    const promptCache = new PromptCache()
    for (const more of [{ samples: 2 }, { beams: 2, temperature: 0 }])
      await expect(complete(model, [first], options(more), { promptCache })).rejects.toThrow(
        'a prompt cache is for one row of a decoder',
      )
  })

  it('two generations at once do not share', async () => {
    const promptCache = new PromptCache()
    await complete(model, [first], options(kinds.greedy), { promptCache })
    const [longer, other] = [
      [...first, 5],
      [...first, 6],
    ]
    const expected = [
      await complete(model, [longer], options(kinds.greedy)),
      await complete(model, [other], options(kinds.greedy)),
    ]
    const both = await Promise.all([
      complete(model, [longer], options(kinds.greedy), { promptCache }),
      complete(model, [other], options(kinds.greedy), { promptCache }),
    ])
    expect(both.map(([one]) => one!.tokens)).toEqual(expected.map(([one]) => one!.tokens))
  })
})
