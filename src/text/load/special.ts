import { z } from 'zod'
import { Place } from '../errors.ts'
import { parse } from '../pipeline/component.ts'
import type { SpecialIds } from '../pipeline/pipeline.ts'
import type { PostProcessor } from '../pipeline/postProcessors.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate } from '../tokenizer.ts'

/** A JSON value and where it is from. */
export interface Source {
  readonly json: unknown
  readonly file: string
}

/** A token as configurations name it. */
const tokenName = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish()

/** The keys of tokenizer_config.json and special_tokens_map.json that matter here. Others are transformers' own. */
const configFields = z.looseObject({
  bos_token: tokenName,
  eos_token: tokenName,
  unk_token: tokenName,
  pad_token: tokenName,
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
  added_tokens_decoder: z.record(z.string(), z.unknown()).nullish(),
})
export type Config = z.output<typeof configFields>

const idOrIds = z.union([z.int(), z.array(z.int())]).nullish()
const generationFields = z.looseObject({
  bos_token_id: idOrIds,
  eos_token_id: idOrIds,
  pad_token_id: idOrIds,
})

const parseSource = <Schema extends z.ZodType>(schema: Schema, source: Source | undefined) =>
  parse(schema, source?.json ?? {}, new Place(source?.file ?? ''))

export const parseConfig = (source: Source | undefined): Config => parseSource(configFields, source)

/** Names that need no declaration: the first one that is a special token of the vocabulary counts. */
const usualNames: Readonly<Record<keyof SpecialIds, readonly string[]>> = {
  bos: ['<s>', '<bos>', '<|begin_of_text|>', '<|startoftext|>', '<|endoftext|>'],
  eos: ['</s>', '<eos>', '<|end_of_text|>', '<|endoftext|>'],
  unk: ['<unk>', '[UNK]'],
  pad: ['<pad>', '[PAD]'],
}

/**
 * The special ids: as tokenizer_config.json names them, else special_tokens_map.json, else as
 * generation_config.json numbers them, else by their usual names. A name that the vocabulary lacks counts as
 * none: transformers would invent an id for it that the model has no embedding for.
 */
export function specialIds(
  vocabulary: Vocabulary,
  isSpecial: (id: number) => boolean,
  config: Config,
  map: Config,
  generation: Source | undefined,
): SpecialIds {
  const numbered = parseSource(generationFields, generation)
  const find = (role: keyof SpecialIds): number | undefined => {
    for (const named of [config[`${role}_token`], map[`${role}_token`]]) {
      if (named != null) return vocabulary.ids.get(typeof named === 'string' ? named : named.content)
    }
    if (config[`${role}_token`] === null || map[`${role}_token`] === null) return undefined
    const id = role === 'unk' ? undefined : [numbered[`${role}_token_id`]].flat()[0]
    if (id != null && vocabulary.tokens[id] !== undefined) return id
    const usual = usualNames[role].map((name) => vocabulary.ids.get(name))
    return usual.find((candidate) => candidate !== undefined && isSpecial(candidate))
  }
  return { bos: find('bos'), eos: find('eos'), unk: find('unk'), pad: find('pad') }
}

/** The post-processor with `add_bos_token` and `add_eos_token` obeyed, where they are said. */
export function withBosAndEos(
  processor: PostProcessor,
  special: SpecialIds,
  config: Config,
  file: string,
): PostProcessor {
  const adjust = (
    ids: readonly number[],
    id: number | undefined,
    wanted: boolean | null | undefined,
    key: string,
  ) => {
    if (wanted == null || (id !== undefined && ids.includes(id) === wanted)) return ids
    if (wanted && id === undefined) return new Place(file).at(key).fail('is true, but there is no such token')
    return wanted ? [id!, ...ids] : ids.filter((other) => other !== id)
  }
  const prefix = adjust(processor.prefix, special.bos, config.add_bos_token, 'add_bos_token')
  const reversed = adjust([...processor.suffix].reverse(), special.eos, config.add_eos_token, 'add_eos_token')
  return { ...processor, prefix, suffix: [...reversed].reverse() }
}

/** The chat template; a list of named ones becomes a record. */
export function chatTemplateOf(config: Config): ChatTemplate | undefined {
  const template = config.chat_template ?? undefined
  return Array.isArray(template)
    ? Object.fromEntries(template.map(({ name, template: source }) => [name, source]))
    : template
}
