import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const blocksOf = (document: string) => [
  ...readFileSync(join(root, document), 'utf8').matchAll(/```ts run\n(.*?)```/gs),
]
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter(
  (document) => document.endsWith('.md') && blocksOf(document).length > 0,
)

it('finds examples', () => expect(documents).toContain('README.md'))

describe.each(documents)('examples of %s', (document) => {
  const blocks = blocksOf(document)
  it.each(blocks.map(([, code], i) => [i + 1, code!] as const))('example %i runs', (_, code) => {
    const folder = mkdtempSync(join(tmpdir(), 'glossa-readme-'))
    try {
      const file = join(folder, 'example.mts')
      const library = pathToFileURL(join(root, 'src/index.ts')).href
      writeFileSync(file, code.replaceAll("'glossa'", `'${library}'`))
      const tsx = join(root, 'node_modules/tsx/dist/cli.mjs')
      const output = execFileSync(process.execPath, [tsx, file], { cwd: root, encoding: 'utf8' })
      expect(output.trim().length).toBeGreaterThan(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
