import { z } from 'zod'
import { type Place, quote } from '../errors.ts'
import { charLength, charLengthBefore, isSpace } from './chars.ts'
import { build, buildAll, type ComponentTable, component } from './component.ts'
import type { Vocabulary } from './vocabulary.ts'

/** What happens to the tokens of a text in the end. */
export interface PostProcessor {
  /** Ids before and after the text's own. */
  readonly prefix: readonly number[]
  readonly suffix: readonly number[]
  /** Takes the spaces at its ends out of a token's range. */
  readonly trim?: Trim
}

/** `surface` is what the token looks like, `text` the input, `range` the token's range there. */
export type Trim = (
  surface: string,
  text: string,
  range: [number, number],
  first: boolean,
) => [number, number]

const none: PostProcessor = { prefix: [], suffix: [] }
const type = z.string()
const tokenAndId = z.tuple([z.string(), z.unknown()])

/** RoBERTa's rule, as Hugging Face has it: a lone first space that was put there stays. */
function trimmer(addPrefixSpace: boolean): Trim {
  const spaceAt = (surface: string, i: number) => surface[i] === 'Ġ' || isSpace(surface.charCodeAt(i))
  return (surface, text, [start, end], first) => {
    let leading = 0
    while (leading < surface.length && spaceAt(surface, leading)) leading++
    let trailing = 0
    while (trailing < surface.length && spaceAt(surface, surface.length - 1 - trailing)) trailing++
    if (leading === 1 && addPrefixSpace && (first || start === 0)) leading = 0
    let [from, to] = [start, end]
    while (leading-- > 0 && from < end) from += charLength(text, from)
    while (trailing-- > 0 && to > from) to -= charLengthBefore(text, to)
    return [from, to]
  }
}

const byteLevelFields = z.strictObject({
  type,
  add_prefix_space: z.boolean(),
  trim_offsets: z.boolean(),
  use_regex: z.boolean().optional(),
})
const pieceFields = z.union([
  z.strictObject({ Sequence: z.strictObject({ id: z.enum(['A', 'B']), type_id: z.int() }) }),
  z.strictObject({ SpecialToken: z.strictObject({ id: z.string(), type_id: z.int() }) }),
])
const templateFields = z.strictObject({
  type,
  single: z.array(pieceFields),
  pair: z.unknown().optional(), // texts are encoded one at a time
  special_tokens: z.record(
    z.string(),
    z.strictObject({ id: z.string(), ids: z.array(z.int()), tokens: z.array(z.string()) }),
  ),
})
const bertFields = z.strictObject({ type, sep: tokenAndId, cls: tokenAndId })
const robertaFields = bertFields.extend({
  trim_offsets: z.boolean().default(true),
  add_prefix_space: z.boolean().default(true),
})

/** The post-processor that a tokenizer.json `post_processor` section describes; null is none. */
export function postProcessor(json: unknown, vocabulary: Vocabulary, place: Place): PostProcessor {
  const known = (id: unknown, at: Place): number =>
    typeof id === 'number' && vocabulary.tokens[id] !== undefined
      ? id
      : at.fail(`${quote(id)} is not a token id`)

  const template = (options: z.output<typeof templateFields>, at: Place): PostProcessor => {
    const ids: number[][] = [[], []]
    let after = 0
    for (const [i, piece] of options.single.entries()) {
      const here = at.at('single').at(i)
      if ('Sequence' in piece) {
        if (piece.Sequence.id === 'B' || after++ > 0)
          here.fail('a template for one text has $A once, and no $B')
        continue
      }
      const { id } = piece.SpecialToken
      // '__proto__' is in every object.
      const special = Object.hasOwn(options.special_tokens, id) ? options.special_tokens[id] : undefined
      if (special === undefined) here.fail(`special token ${quote(id)} is not defined`)
      else ids[after]!.push(...special.ids.map((id) => known(id, here)))
    }
    if (after === 0) at.at('single').fail('the template lacks the text, $A')
    return { prefix: ids[0]!, suffix: ids[1]! }
  }

  const surround = ({ cls, sep }: z.output<typeof bertFields>, at: Place): PostProcessor => ({
    prefix: [known(cls[1], at.at('cls'))],
    suffix: [known(sep[1], at.at('sep'))],
  })

  const table: ComponentTable<PostProcessor> = {
    BertProcessing: component(bertFields, surround),
    ByteLevel: component(byteLevelFields, (options) =>
      options.trim_offsets ? { ...none, trim: trimmer(options.add_prefix_space) } : none,
    ),
    RobertaProcessing: component(robertaFields, (options, at) =>
      options.trim_offsets
        ? { ...surround(options, at), trim: trimmer(options.add_prefix_space) }
        : surround(options, at),
    ),
    Sequence: component(z.strictObject({ type, processors: z.array(z.unknown()) }), (options, at) =>
      buildAll(table, 'post-processor', options.processors, at.at('processors')).reduce(combine, none),
    ),
    TemplateProcessing: component(templateFields, template),
  }
  return json === null || json === undefined ? none : build(table, 'post-processor', json, place)
}

/** First one, then the other around it. */
function combine(inner: PostProcessor, outer: PostProcessor): PostProcessor {
  const trim = outer.trim ?? inner.trim
  const prefix = [...outer.prefix, ...inner.prefix]
  return { prefix, suffix: [...inner.suffix, ...outer.suffix], ...(trim === undefined ? {} : { trim }) }
}
