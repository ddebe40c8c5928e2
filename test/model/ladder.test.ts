/** The models that this repository trains and brings along: tiny, small and default, which share one tokenizer. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { complete, scoreDocuments } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { bundledModel, openSafetensors } from '../../src/store/index.ts'
import { openText } from '../../src/train/data/index.ts'
import { shared } from '../shared.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const models = fileURLToPath(new URL('../../models', import.meta.url))
const ladder = ['tiny', 'small', 'default'] as const
const open = (name: string): Model => Model.open(bundledModel(name)!, engine)
const card = (name: string): string => readFileSync(join(models, name, 'MODEL_CARD.md'), 'utf8')

/** Written for this test: no model has learned them. */
const stories = [
  'Once upon a time, there was a girl named Lily. She had a red ball. One day, the ball rolled into the pond. Lily ' +
    'was sad. A big duck saw her and said, "Do not cry. I can help you." The duck swam to the ball and pushed it to ' +
    'the side. Lily was so happy. "Thank you, duck!" she said. She gave the duck some bread, and they became friends.',
  'Tom and Sam wanted to build a house for their cat. They found a box in the kitchen. Tom cut a door, and Sam put a ' +
    'soft blanket inside. But the cat did not want to go in. "Maybe she is scared," said Sam. They put a little fish ' +
    'in the box and waited. Soon the cat went in and fell asleep. The boys smiled.',
]

describe('the ladder', () => {
  it('is at most 32 MB, in f16, with one tokenizer', () => {
    let bytes = 0
    for (const name of ladder) {
      const file = join(models, name, 'model.safetensors')
      bytes += statSync(file).size
      const types = new Set([...openSafetensors(file).tensors.values()].map(({ type }) => type))
      expect([...types]).toEqual(['f16'])
      for (const part of ['tokenizer.json', 'tokenizer_config.json'])
        expect(readFileSync(join(models, name, part))).toEqual(readFileSync(join(models, 'tokenizer', part)))
    }
    expect(bytes).toBeLessThanOrEqual(32 * 1024 ** 2)
  })

  it.each(ladder)('%s says how it was made and how good it is', (name) => {
    const text = card(name)
    const parts = ['CDLA-Sharing-1.0', 'glossa train recipes/', 'stories260K', '5-gram', 'bits per byte']
    for (const part of [...parts, '(loss.svg)', '**Seed 1.**', '**Seed 5.**']) expect(text).toContain(part)
    for (const [, recipe] of text.matchAll(/glossa train (recipes\/\S+\.json)/g))
      expect(readdirSync(join(models, '../recipes')).map((file) => `recipes/${file}`)).toContain(recipe)
    expect(readFileSync(join(models, name, 'loss.svg'), 'utf8')).toContain('</svg>')
  })

  it('predicts a story far better than its words in reverse, and better above the lowest rung', async () => {
    const bits: number[] = []
    for (const name of ladder) {
      const model = open(name)
      bits.push((await scoreDocuments(model, stories)).bitsPerByte)
      const reversed = stories.map((story) => story.split(' ').reverse().join(' '))
      expect((await scoreDocuments(model, reversed)).bitsPerByte).toBeGreaterThan(2 * bits.at(-1)!)
    }
    console.log(`bits per byte of two simple stories: ${bits.map((b) => b.toFixed(3)).join(', ')}`)
    // Small and default are too close for two stories to tell them apart: over 206 of them they are ordered, below.
    const [lowest, ...others] = bits
    for (const other of others) expect(other).toBeLessThan(lowest! - 0.05)
  })

  it('tells the stories of its card', async () => {
    for (const name of ladder) {
      const settings = { seed: 1, temperature: 0.8, maxTokens: 300 }
      const [story] = await complete(open(name), ['Once upon a time'], settings)
      const told = `Once upon a time${story!.text}`.replace(/\s*\n\s*/g, ' ')
      // Other processors round other sums: a token may be drawn otherwise, sooner or later.
      expect(card(name)).toContain(told.slice(0, 40))
    }
  })
})

/** The figures of a card's table, by corpus. */
function figures(name: string): Map<string, number> {
  const lines = card(name).split('\n')
  const cells = (line: string): string[] =>
    line
      .split('|')
      .slice(2, -1)
      .map((cell) => cell.trim())
  const own = lines.findIndex((line) => line.startsWith(`| **${name}** |`))
  const head = cells(lines[own - 2]!)
  return new Map(
    cells(lines[own]!).map((cell, i) => [head[i]!.replace(/ \(\d+\)$/, ''), Number.parseFloat(cell)]),
  )
}

it('is better from rung to rung on unseen stories, by the cards', () => {
  const bits = ladder.map((name) => figures(name).get('stories')!)
  expect(bits).toEqual([...bits].sort((a, b) => b - a))
  expect(new Set(bits).size).toBe(ladder.length)
})

describe.skipIf(!shared('assets/text'))('unseen documents', () => {
  const corpora: Record<string, readonly [files: readonly string[], share: number]> = {
    stories: [
      [
        'data/tinystories-val-part/tinystories_dedup.txt.gz',
        'text/tinystories_new/tinystories_mines.txt.gz',
        'text/tinystories_new/tinystories_crib.txt',
      ],
      0.02,
    ],
    'another collection': [['text/fairytales_misc/fairytales_dhirendra.txt.gz'], 1],
  }

  it.each(ladder)(
    '%s scores as its card says',
    async (name) => {
      const model = open(name)
      for (const [corpus, [files, share]] of Object.entries(corpora)) {
        const texts: string[] = []
        for (const path of files) {
          const rows = await openText(shared(`assets/${path}`)!)
          for (let i = rows.length - Math.ceil(rows.length * share); i < rows.length; i++)
            texts.push(((await rows.at(i)) as { text: string }).text)
        }
        const { bitsPerByte } = await scoreDocuments(model, texts)
        console.log(`${name} on ${corpus}: ${bitsPerByte.toFixed(4)} bits per byte`)
        expect(bitsPerByte).toBeCloseTo(figures(name).get(corpus)!, 2)
      }
    },
    300_000,
  )
})
