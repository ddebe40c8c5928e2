/** Patterns of paths, as shells have them. */

/** Whether a text is a pattern rather than a path. */
export const isGlob = (text: string): boolean => /[*?{[]/.test(text)

/**
 * A pattern over whole paths with `/`: `*` and `?` within a name, `**` over any folders (none too), `[abc]`, `[!abc]`,
 * `{one,other}`. RangeError for one that does not end.
 */
export function globPattern(glob: string): RegExp {
  let pattern = ''
  let depth = 0
  for (let at = 0; at < glob.length; at++) {
    const rest = glob.slice(at)
    const character = glob[at]!
    const set = /^\[(!?)((?:[^\]\\/])+)\]/.exec(rest)
    if (rest.startsWith('**/')) {
      pattern += '(?:[^/]+/)*'
      at += 2
    } else if (rest.startsWith('**')) {
      pattern += '.*'
      at++
    } else if (character === '*') pattern += '[^/]*'
    else if (character === '?') pattern += '[^/]'
    else if (set) {
      pattern += `[${set[1] ? '^/' : ''}${set[2]!.replace(/[\\^[]/g, '\\$&')}]`
      at += set[0].length - 1
    } else if (character === '[') throw new RangeError(`the pattern '${glob}' has a [ without its ]`)
    else if (character === '{') {
      depth++
      pattern += '(?:'
    } else if (character === '}' && depth > 0) {
      depth--
      pattern += ')'
    } else if (character === ',' && depth > 0) pattern += '|'
    else pattern += character.replace(/[\\^$.+|()}\]]/, '\\$&')
  }
  if (depth > 0) throw new RangeError(`the pattern '${glob}' has a { without its }`)
  return new RegExp(`^${pattern}$`, 'u')
}
