/** Every family in Chromium, where it is installed, against Hugging Face transformers. */
import { readdirSync } from 'node:fs'
import { describe, it } from 'vitest'
import { addTo, checkFamilies, type Shown } from '../familyTable.ts'
import { allClose, fixture, type ReferenceTensor, readReference } from '../reference.ts'
import { executable, openBrowser } from './open.ts'
import type { Family } from './page.ts'

const names = readdirSync(fixture('families')).sort()
const references = new Map(names.map((name) => [name, readReference(fixture(`families/${name}`))]))

const rowsOf = ({ data, shape }: ReferenceTensor): number[][] =>
  Array.from({ length: shape[0]! }, (_, row) => [...data.slice(row * shape[1]!, (row + 1) * shape[1]!)])

const families = names.map((name): Family => {
  const reference = references.get(name)!
  const [mask, targets] = ['mask', 'targets'].map((key) => reference.get(key))
  return {
    name,
    tokens: rowsOf(reference.get('tokens')!),
    ...(mask && { mask: rowsOf(mask) }),
    ...(targets && { targets: rowsOf(targets) }),
  }
})

describe.skipIf(!executable)('in a browser', () => {
  it("gives every family's logits on WebAssembly", async () => {
    await using browser = await openBrowser()
    const page = await browser.newPage()
    const outcome = await page.evaluate<Record<string, number[] | string>>(
      `families('wasm', ${JSON.stringify(families)})`,
    )
    const shown: Shown = new Map()
    for (const { name, mask, targets } of families) {
      const reference = references.get(name)!
      const encoder = mask && !targets
      const expected = reference.get(encoder ? 'last_hidden_state' : 'logits')!
      const actual = outcome[name]!
      if (typeof actual === 'string') throw new Error(`${name}: ${actual}`)
      const width = expected.shape.at(-1)!
      allClose({ shape: expected.shape, data: actual }, expected, {
        rtol: 1e-4,
        // Logits of T5 are not scaled; see test/model/families.test.ts.
        atol: targets ? 1e-4 : 2e-5,
        name,
        // What stands at padding says nothing.
        ...(encoder && { where: (i: number) => mask.flat()[Math.floor(i / width)] === 1 }),
      })
      addTo(shown, name, 'browser')
    }
    checkFamilies(['browser'], shown)
  })
})
