import { describe, expect, test } from 'vitest'
import { Place } from '../errors.ts'
import { Aligned } from './aligned.ts'
import { pattern } from './pattern.ts'
import { splitText } from './split.ts'

const place = new Place('f')
const split = (Regex: string, text: string) =>
  splitText(new Aligned(text), pattern({ Regex }, place), 'Isolated').map((piece) => piece.text)

// What the reference, tokenizers 0.23.2 with Oniguruma, makes of each.
describe('means in JavaScript what it means to Oniguruma', () => {
  test.each([
    ['\\s', 'a\u0085b\ufeffc', ['a', '\u0085', 'b\ufeffc']],
    ['\\d+', 'a1٣२b', ['a', '1٣२', 'b']],
    ['\\w+', 'é_½ a', ['é_½', ' ', 'a']],
    ['[\\w]+', 'é_½ a', ['é_', '½ ', 'a']],
    ['\\W+', 'a½²b', ['a½²b']],
    ['\\h+', 'face it', ['face', ' it']],
    ['\\b', 'ab, c½', ['ab', ', ', 'c½']],
    ['\\B', 'a🙂b', ['a🙂b']],
    ['^', 'a\nb\n', ['a\n', 'b\n']],
    ['^.', '🙂🙃', ['🙂', '🙃']],
    ['.$', 'ab\ncd', ['a', 'b', '\nc', 'd']],
    ['.+', 'a\u2028b\nc', ['a\u2028b', '\n', 'c']],
    ['(?m:.+)', 'a\nb', ['a\nb']],
    ['.\\Z', 'ab\n', ['a', 'b', '\n']],
    ['.\\z', 'ab\n', ['ab\n']],
    ['[[:punct:]]+', 'a+−!b', ['a', '+−!', 'b']],
    ['\\p{Punct}+', 'a+!b', ['a+', '!', 'b']],
    ['[[:^alpha:]]+', 'a1 b', ['a', '1 ', 'b']],
    ['\\p{Han}+', 'a你好b', ['a', '你好', 'b']],
    ['\\p{^L}+', 'a1b', ['a', '1', 'b']],
    ['\\p{Uppercase_Letter}', 'aBc', ['a', 'B', 'c']],
    ['[a-z&&[^aeiou]]+', 'abcde', ['a', 'bcd', 'e']],
    ['[^a-z&&[^aeiou]]+', 'aBe1', ['aBe1']],
    ['[]a]+', 'x]ay', ['x', ']a', 'y']],
    ['[\\w-]+', 'a-b c', ['a-b', ' ', 'c']],
    ['[^(\\s|[.,!?])]+', '(ab. c)', ['(', 'ab', '. ', 'c', ')']],
    ["(?i:'s)", "a'Sb'ſ", ['a', "'S", 'b', "'ſ"]],
    ['(?i)[a-k]+', 'aKz\u212a', ['aK', 'z', '\u212a']],
    ['a(?i)b|c', 'aB C aC', ['aB', ' C ', 'aC']],
    ['(?i:a(?-i:b))', 'Ab AB', ['Ab', ' AB']],
    ['a++b|a', 'aab aa', ['aab', ' ', 'a', 'a']],
    ['(?>a|ab)c', 'abcac', ['abc', 'ac']],
    ['a{2}?', 'aaa', ['aa', 'a']],
    ['a{,2}b', 'aaab', ['a', 'aab']],
    ['a{b}', 'a{b}', ['a{b}']],
    ['(?<=🙂).', '🙂🙃', ['🙂', '🙃']],
    ['(?=\\p{Lu})', 'aBcD', ['a', 'Bc', 'D']],
    ['x*', 'axxb', ['a', 'xx', 'b']],
    ['\\x{1F642}|\\u00e9', 'a🙂é', ['a', '🙂', 'é']],
  ])('%s', (regex, text, pieces) => {
    expect(split(regex, text)).toEqual(pieces)
  })
})

test.each([
  ['(a', 'missing )'],
  ['a)', 'unmatched )'],
  ['[a', 'missing ]'],
  ['[z-a]', 'range out of order'],
  ['*a', 'nothing to repeat'],
  ['{2}', 'nothing to repeat'],
  ['\\p{Foo}', 'unknown property Foo'],
  ['[[:foo:]]', 'unknown class [:foo:]'],
  ['(.)\\1', '\\1 is not supported'],
  ['\\R', '\\R is not supported'],
  ['(?~a)', 'this kind of group is not supported'],
  ['(?x: a )', 'option x is not supported'],
  ['a\\', 'unfinished escape'],
  ['('.repeat(200), 'nested too deeply'],
])('%s is refused', (regex, reason) => {
  expect(() => pattern({ Regex: regex }, place)).toThrow(reason)
})
