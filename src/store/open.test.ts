import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { shared } from '../../test/shared.ts'
import { FileError } from './checkpoint.ts'
import { openCheckpoint } from './open.ts'

const root = mkdtempSync(join(tmpdir(), 'glossa-open-'))
afterAll(() => rmSync(root, { recursive: true }))
const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/store/${name}`, import.meta.url))

/** A folder with a copy of the fixture under each of these names, or with these contents. */
function folder(name: string, files: Record<string, string>): string {
  const path = join(root, name)
  mkdirSync(path)
  for (const [file, content] of Object.entries(files)) {
    if (content === '') copyFileSync(fixture('plain.safetensors'), join(path, file))
    else writeFileSync(join(path, file), content)
  }
  return path
}

test('the content decides, not the name', () => {
  for (const [name, format] of [
    ['plain.safetensors', 'safetensors'],
    ['ggml.gguf', 'gguf'],
  ] as const) {
    const blob = join(root, 'blob')
    copyFileSync(fixture(name), blob)
    expect(openCheckpoint(fixture(name)).format).toBe(format)
    expect(openCheckpoint(blob)).toMatchObject({ format, path: blob })
  }
})

test.skipIf(!shared('assets/models/stories260K'))('llama2.c, both versions', () => {
  for (const name of ['checkpoint_legacy.bin', 'checkpoint_v1.bin'])
    expect(openCheckpoint(shared(`assets/models/stories260K/${name}`)!).format).toBe('llama2c')
})

test('a folder with model.safetensors, or its index', () => {
  const whole = folder('whole', { 'model.safetensors': '', 'model.safetensors.index.json': '{}' })
  expect(openCheckpoint(whole).path).toBe(join(whole, 'model.safetensors'))
  const weights = '{"weight_map":{"F32":"a.safetensors"}}'
  const parts = folder('parts', { 'a.safetensors': '', 'model.safetensors.index.json': weights })
  expect([...openCheckpoint(parts).tensors.keys()]).toEqual(['F32'])
  expect(openCheckpoint(join(parts, 'model.safetensors.index.json')).tensors.size).toBe(1)
})

test.each<[file: string, content: string | Buffer | undefined, reason: string]>([
  ['missing', undefined, 'no such file or folder'],
  ['empty.gguf', '', 'needs 4 bytes'],
  ['text.gguf', 'hello, world', 'does not begin with GGUF'],
  ['text.safetensors', 'hello, world', 'a header of'],
  ['text.bin', 'hello, world', 'needs 28 bytes'],
  ['text.txt', 'hello, world', 'is not a checkpoint'],
  ['zip.bin', 'PK\x03\x04 and more', 'PyTorch pickle'],
  ['old.pth', Buffer.from('\x80\x02\x8a\x0a', 'latin1'), 'PyTorch pickle'],
  ['null\0byte', undefined, 'null bytes'],
])('%s', (name, content, reason) => {
  const path = join(root, name)
  if (content !== undefined) writeFileSync(path, content)
  expect(() => openCheckpoint(path)).toThrow(FileError)
  expect(() => openCheckpoint(path)).toThrow(reason)
})

test('a folder without a checkpoint, or with a pickle only, says what to do', () => {
  expect(() => openCheckpoint(folder('none', { 'config.json': '{}' }))).toThrow(
    'neither model.safetensors nor',
  )
  const pickle = folder('pickle', { 'pytorch_model.bin': 'PK' })
  expect(() => openCheckpoint(pickle)).toThrow(`M.from_pretrained("${pickle}").save_pretrained("${pickle}")'`)
})

test('a llama2.c model of dim 640, whose first bytes are those of a pickle', () => {
  const path = join(root, 'dim640.bin')
  writeFileSync(path, Int32Array.of(640, 1, 1, 1, 1, 1, 1))
  expect(() => openCheckpoint(path)).toThrow('this llama2.c header asks for')
})

test.skipIf(process.platform === 'win32')('a device is not a file', () => {
  expect(() => openCheckpoint('/dev/null')).toThrow('/dev/null: at byte 0: is not a file')
})
