/**
 * Writes src/registry/methods.gen.ts: every file in src/ whose default export is a method, by its id. `--check` writes nothing
 * and fails where the file is not what it should be.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const src = join(root, 'src')
const target = join(src, 'registry', 'methods.gen.ts')

const found = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.ts$/.test(entry.name) && !/\.(test|gen)\.ts$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .flatMap((file) => {
    const text = readFileSync(file, 'utf8')
    const at = text.indexOf('\nexport default method({')
    if (at < 0) return []
    const id = /\n {2}id: '([^']+)'/.exec(text.slice(at))?.[1]
    if (!id) throw new Error(`${relative(root, file)}: the method has no id on a line of its own`)
    return [{ id, path: `../${relative(src, file).split(sep).join('/')}` }]
  })
  .sort((a, b) => (a.id < b.id ? -1 : 1))

for (const [i, { id, path }] of found.entries())
  if (found[i + 1]?.id === id)
    throw new Error(`two methods are called '${id}': ${path} and ${found[i + 1].path}`)

const lines = found.map(
  ({ id, path }) =>
    `  ${/^\w+$/.test(id) ? id : `'${id}'`}: async () => (await import('${path}')).default as Method,`,
)
const text = `// Written by scripts/generate-methods.mjs; do not edit.
import type { Method } from '../method/index.ts'

/** Every method, opened when it is asked for. */
export const methodFiles: Readonly<Record<string, () => Promise<Method>>> = {
${lines.join('\n')}
}
`
let before = ''
try {
  before = readFileSync(target, 'utf8')
} catch {
  // Not written yet.
}
if (before === text) process.exit(0)
if (process.argv.includes('--check')) {
  console.error(
    'src/registry/methods.gen.ts is not what the methods are: run node scripts/generate-methods.mjs',
  )
  process.exit(1)
}
writeFileSync(target, text)
