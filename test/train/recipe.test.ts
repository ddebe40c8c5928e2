/** Objectives that a recipe selects, and those that it cannot. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { random } from '../../src/array/index.ts'
import { load } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { parseRecipe } from '../../src/train/run/recipe.ts'
import { train } from '../../src/train/run/train.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-objective-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

const uniform = random.generator(1)
const words = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
writeFileSync(
  join(folder, 'text.txt'),
  Array.from({ length: 60 }, () => {
    const from = Math.floor(uniform() * 10)
    return Array.from({ length: 24 }, (_, i) => words[(from + i) % 10]).join(' ')
  }).join('\n<|endoftext|>\n'),
)

const recipe = (objective: object | undefined, tokenizer: 'starter' | 'tokenizer', steps = 30) =>
  parseRecipe(
    {
      name: 'tiny',
      model: {
        config: {
          model_type: 'llama',
          vocab_size: tokenizer === 'starter' ? 1024 : 4096,
          hidden_size: 32,
          intermediate_size: 64,
          num_hidden_layers: 2,
          num_attention_heads: 2,
          num_key_value_heads: 1,
          max_position_embeddings: 64,
          rms_norm_eps: 1e-5,
          tie_word_embeddings: true,
        },
      },
      tokenizer: resolve('models', tokenizer),
      data: { sources: [{ name: 'counting', files: [{ file: 'text.txt' }], heldOut: 0.1 }] },
      ...(objective && { objective }),
      ...{ length: 24, batch: 8, steps, optimizer: { kind: 'adamw', rate: 0.01 } },
      ...{ measure: { every: 10, windows: 8 }, saveEvery: 15, dtype: 'f32' },
    },
    'tiny.json',
  )

const run = (name: string, given: ReturnType<typeof recipe>, resume = false) =>
  train({ engine, recipe: given, base: folder, folder: join(folder, name), resume })
const weights = (name: string) =>
  readFileSync(join(folder, name, 'last/model.safetensors')).toString('base64')
const measured = (name: string): number[] =>
  readFileSync(join(folder, name, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line)['validation/loss'] as number)
    .filter((loss) => loss !== undefined)

const teacher = resolve('models/starter')
const hidden = { layers: [[1, 2]], distance: 'cosine' }

describe('a recipe trains by', () => {
  it.each<[string, object | undefined, 'starter' | 'tokenizer']>([
    ['nothing said', undefined, 'starter'],
    ['next-token', { kind: 'next-token' }, 'starter'],
    ['meap', { kind: 'meap' }, 'tokenizer'],
    ['meap-number', { kind: 'meap', maskToken: 2, share: 0.1 }, 'tokenizer'],
    ['middle', { kind: 'fill-in-the-middle', rate: 0.9 }, 'tokenizer'],
    ['distillation', { kind: 'distillation', teacher, temperature: 2, hidden }, 'starter'],
  ])('%s', async (name, objective, tokenizer) => {
    const { end, model } = await run(name, recipe(objective, tokenizer))
    expect(end).toBe('done')
    const losses = measured(name)
    // Always next-token prediction on what is held out, whatever is learned.
    expect(losses[0]).toBeCloseTo(Math.log(tokenizer === 'starter' ? 1024 : 4096), 0)
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 1.5)
    expect(load(model!).spec.width).toBe(32)
  })

  it('the same, if it says what it would be anyway', () => {
    expect(weights('nothing said')).toBe(weights('next-token'))
    expect(weights('meap')).not.toBe(weights('meap-number'))
  })

  it('a teacher, stopped and resumed with the same bits', async () => {
    const given = recipe({ kind: 'distillation', teacher, temperature: 2, hidden }, 'starter')
    const controller = new AbortController()
    await train({
      ...{ engine, recipe: given, base: folder, folder: join(folder, 'stopped'), signal: controller.signal },
      onStep: ({ step }) => {
        if (step === 17) controller.abort()
      },
    })
    await run('stopped', given, true)
    expect(weights('stopped')).toBe(weights('distillation'))
  })
})

describe('a recipe refuses', () => {
  it.each<[object, 'starter' | 'tokenizer', RegExp]>([
    [{ kind: 'dpo' }, 'starter', /'dpo' is not for recipes: .*pairs.*; the library has it/],
    [{ kind: 'grpo' }, 'starter', /'grpo' is not for recipes: .*policyRun/],
    [{ kind: 'masked' }, 'starter', /'masked' is not for recipes/],
    [{ kind: 'classification' }, 'starter', /labels/],
    [{ kind: 'mlm' }, 'starter', /no kind 'mlm'; there are: next-token, meap/],
    [{ kind: 'next-token', share: 0.1 }, 'starter', /no option 'share'/],
    [{ kind: 'meap', shares: 0.1 }, 'tokenizer', /no option 'shares'; there are: share, maskToken/],
    [{ kind: 'meap' }, 'starter', /no token '<\|mask\|>'; give another as 'maskToken'/],
    [{ kind: 'fill-in-the-middle' }, 'starter', /no token '<\|fim_prefix\|>'/],
    [{ kind: 'fill-in-the-middle', rate: 2 }, 'tokenizer', /rate: /],
    [{ kind: 'distillation' }, 'starter', /needs a 'teacher'/],
    [{ kind: 'distillation', teacher }, 'tokenizer', /teacher has 1024 tokens, the student 4096/],
    [
      { kind: 'distillation', teacher, hidden: { layers: [[2, 0]] } },
      'starter',
      /the student has layers 0 to 1, not 2/,
    ],
  ])('%j', async (objective, tokenizer, message) => {
    await expect(run('refused', recipe(objective, tokenizer))).rejects.toThrow(message)
  })
})
