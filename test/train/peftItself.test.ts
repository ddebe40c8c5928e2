/** Adapters that PEFT itself has written (test/fixtures/peft_itself.py), and the logits that it computes with them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { readAdapter } from '../../src/train/adapters/peft.ts'
import { allClose, fixture, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

it.each(['llama-tiny', 'gpt2-tiny'])('an adapter of %s', async (name) => {
  const folder = fixture(`peft/${name}`)
  const { rows, logits } = JSON.parse(readFileSync(join(folder, 'logits.json'), 'utf8')) as {
    rows: number[][]
    logits: number[][]
  }
  const model = Model.open(fixture(name), engine)
  const plain = (await model.run(rows)).logits!.data as Float32Array
  const adapted = (await model.adapted([readAdapter(folder, model)]).run(rows)).logits!.data as Float32Array
  allClose(adapted, logits.flat(), { ...tolerance.f32, name: 'logits' })
  // It does something.
  expect(Math.max(...plain.map((x, i) => Math.abs(x - logits.flat()[i]!)))).toBeGreaterThan(0.1)
})
