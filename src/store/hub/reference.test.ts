import { expect, test } from 'vitest'
import { parseReference, referenceText } from './reference.ts'

test.each<[text: string, repo: string, revision: string, quant: string | undefined]>([
  ['org/name', 'org/name', 'main', undefined],
  ['Qwen/Qwen2.5-0.5B_x', 'Qwen/Qwen2.5-0.5B_x', 'main', undefined],
  ['org/name:Q4_K_M', 'org/name', 'main', 'Q4_K_M'],
  ['org/name@v1.0', 'org/name', 'v1.0', undefined],
  ['org/name@refs/pr/3:Q8_0', 'org/name', 'refs/pr/3', 'Q8_0'],
])('%s', (text, repo, revision, quant) => {
  const reference = parseReference(text)!
  expect(reference).toEqual({ repo, revision, quant })
  expect(referenceText(reference)).toBe(text)
})

test.each([
  'name',
  './name',
  '../name',
  'a/b/c',
  '/a/b',
  'a/..',
  'a/.b',
  'a/b/',
  'a--b/c',
  'a/b.',
  'a/b@',
  'a/b@../x',
  'a/b@x/../../y',
  'a\\b',
  'a/b c',
  '',
])('%j is none', (text) => expect(parseReference(text)).toBeUndefined())
