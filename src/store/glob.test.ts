import { expect, test } from 'vitest'
import { globPattern, isGlob } from './glob.ts'

test.each([
  ['*.jsonl', ['a.jsonl', '.jsonl'], ['b/a.jsonl', 'a.jsonl.gz', 'ajsonl']],
  ['**/*.txt', ['a.txt', 'b/a.txt', 'b/c/a.txt'], ['a.csv', 'b/a.txt/c']],
  ['data/**', ['data/a', 'data/b/c'], ['data', 'other/a']],
  ['a?c', ['abc', 'aäc', 'a😀c'], ['ac', 'a/c']],
  ['[a-c][!x].p', ['ay.p', 'c1.p'], ['ax.p', 'dy.p', 'a/.p']],
  ['{train,dev}-*.{csv,tsv}', ['train-1.csv', 'dev-.tsv'], ['test-1.csv', 'train-1.json']],
  ['a+(1)^$|.x, y', ['a+(1)^$|.x, y'], ['aa(1)^$|.x, y', 'a+(1)^$|zx, y']],
])('%s', (glob, fitting, others) => {
  const fits = (path: string): boolean => globPattern(glob).test(path)
  expect(fitting.filter((path) => !fits(path))).toEqual([])
  expect(others.filter(fits)).toEqual([])
})

test('one that does not end is an error; a path is none', () => {
  expect(() => globPattern('a[b')).toThrow('a [ without its ]')
  expect(() => globPattern('{a,b')).toThrow('a { without its }')
  expect(['a.txt', 'a*.txt', 'a{b}'].map(isGlob)).toEqual([false, true, true])
})
