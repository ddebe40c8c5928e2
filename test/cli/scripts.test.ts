import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const script = (name: string): string => fileURLToPath(new URL(`../../scripts/${name}.mjs`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'glossa-scripts-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('scripts', () => {
  it('the imports of src/ are in order', () => {
    const { status, stderr } = spawnSync(process.execPath, [script('check-imports')], { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })

  it('imports that are not in order are named with their line', () => {
    const files = {
      'array/a.ts':
        "import {\n  b,\n} from '../onnx/b.ts'\nimport { c } from './c.ts'\n// import '../cli/x.ts'\n",
      'array/c.ts': "import type { A } from './a.ts'\nconst later = () => import('./a.ts')\n",
      'onnx/b.ts': "import { Tensor } from 'onnxruntime-node'\nexport const text = 'from'\n",
      'model/m.ts': "export * from '../onnx/b.ts'\nimport 'onnxruntime-web'\n",
      'store/s.ts': "import type { T } from '../text/t.ts'\n",
      'text/t.ts': "import { x } from '../../test/x.ts'\n",
      'odd/o.ts': '\n',
      'index.ts': "export * from './model/m.ts'\n",
    }
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    const { status, stderr } = spawnSync(process.execPath, [script('check-imports'), folder], {
      encoding: 'utf8',
      cwd: folder,
    })
    expect(stderr.trim().split('\n')).toEqual([
      "array/a.ts:3 imports '../onnx/b.ts': onnx/ is above array/",
      "model/m.ts:2 imports 'onnxruntime-web': only onnx/ may",
      "odd/o.ts:1 the folder 'odd' is in no layer: add it to scripts/check-imports.mjs",
      "store/s.ts:1 imports '../text/t.ts': text/ and store/ are beside each other",
      "text/t.ts:1 imports '../../test/x.ts': it is outside of src/",
      'array/c.ts:2 a cycle: array/a.ts -> array/c.ts -> array/a.ts',
    ])
    expect(status).toBe(1)
  })

  it('setup does nothing where everything is installed', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script('setup')], { encoding: 'utf8' })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' })
  })
})
