import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { glossa, json, llamaTiny } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-convert-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Report {
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly tensors: number
  readonly kept: readonly string[]
}

describe('glossa convert', () => {
  it('makes a GGUF file and a folder of it that give the same tokens', async () => {
    const [file, back] = [join(folder, 'starter.gguf'), join(folder, 'starter')]
    const made = await json<Report>('convert', '-m', 'models/starter', '-o', file, '--type', 'f32')
    expect(made.files.map(({ path }) => path)).toEqual([file])
    expect(made.kept).toEqual([])
    await json('convert', '-m', file, '-o', back)
    expect(readdirSync(back).sort()).toEqual(
      ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].sort(),
    )
    const runs = await Promise.all(
      ['models/starter', file, back].map((model) =>
        json<{ tokens: number[] }>('generate', '-m', model, '-p', 'Once', '--temp', '0', '-n', '12'),
      ),
    )
    expect(runs[0]!.tokens).toHaveLength(12)
    for (const { tokens } of runs) expect(tokens).toEqual(runs[0]!.tokens)
  })

  it('says which matrices could not be what was asked for', async () => {
    const { stderr, stdout, code } = await glossa(
      ...['convert', '-m', llamaTiny, '-o', join(folder, 'tiny.gguf'), '--type', 'q4_0'],
    )
    expect(code).toBe(0)
    expect(stderr).toContain('not whole blocks of q4_0: blk.0.ffn_down.weight in f16, blk.1')
    expect(stdout).toContain('30 tensors')
  })
})
