/** `glossa sae show`: contexts in which features are most active, and what they do to the logits. */
import {
  type Context,
  evaluateSae,
  type FeatureContexts,
  type LogitEffects,
  logitEffects,
  type Sae,
  topContexts,
} from '../../interp/index.ts'
import type { SaeText } from '../../interp/sae/train.ts'
import type { Model } from '../../model/index.ts'
import { dim, Progress, print, printJson, short, strong } from '../terminal.ts'
import { UsageError } from '../verb.ts'
import { type Looking, newEngine, openOpen, openSae, openText, pieces } from './common.ts'

/** Features that are shown where none is named, and tokens on both sides of the most active one. */
const [chosen, around] = [8, 12]

export async function show(given: Looking): Promise<number> {
  const { model: name, sae: folders, file, tokens: most, length, feature, top = 5, json } = given
  if (folders.length > 1) throw new UsageError('sae show looks at one --sae')
  await using engine = newEngine(given)
  const model = await openOpen(engine, name)
  // All of it: what features are active on has not to be held out.
  const text = await openText(model, file, 0)
  const sae = await openSae(folders[0]!, model, text, json)
  const features = feature ?? (await someOf(model, sae, text))
  let progress: Progress | undefined
  const found = await topContexts({
    ...{ model, sae, features, top, tokens: text.learned, begin: text.begin, exclude: text.exclude },
    ...(length !== undefined && { length }),
    ...(most !== undefined && { most }),
    progress: (done, of) => {
      progress ??= new Progress('looking for contexts', of)
      progress.update(done)
    },
  })
  const effects =
    sae.config.dOut === model.spec.width ? await logitEffects(model, sae, features, top) : undefined
  const named = found.map((one, i) => ({ ...one, logits: effects?.[i] }))
  if (json) printJson({ model: name, sae: folders[0], features: named.map((one) => plain(model, one)) })
  else for (const one of named) print(described(model, one))
  return 0
}

type Shown = FeatureContexts & { readonly logits: LogitEffects | undefined }

/** Some of all densities but for the dead and those on more than a tenth of the tokens, which say little. */
async function someOf(
  model: Model,
  sae: Sae,
  { learned: tokens, begin, exclude }: SaeText,
): Promise<number[]> {
  const { feature_density } = await evaluateSae({ model, sae, tokens, begin, exclude, most: 8192 })
  const active = Array.from(feature_density, (_, feature) => feature)
    .filter((feature) => feature_density[feature]! > 0 && feature_density[feature]! < 0.1)
    .sort((a, b) => feature_density[b]! - feature_density[a]!)
  const count = Math.min(chosen, active.length)
  return Array.from({ length: count }, (_, i) => active[Math.floor(((i + 0.5) * active.length) / count)]!)
}

const token = (model: Model, id: number): string => pieces(model, [id])[0]!

function plain(model: Model, { logits, contexts, ...one }: Shown): object {
  const effects = (list: LogitEffects['up']) =>
    list.map(({ token: id, logit }) => ({ token: token(model, id), id, logit }))
  return {
    ...one,
    ...(logits && { logits: { up: effects(logits.up), down: effects(logits.down) } }),
    contexts: contexts.map((context) => ({ ...context, text: pieces(model, context.tokens) })),
  }
}

function described(model: Model, { feature, density, contexts, logits }: Shown): string {
  const effects = (list: LogitEffects['up']): string =>
    list.map(({ token: id, logit }) => `${JSON.stringify(token(model, id))} ${logit.toFixed(2)}`).join('  ')
  return [
    `feature ${feature}: active on ${short(100 * density)} % of the tokens\n`,
    ...(logits ? [dim(`  up    ${effects(logits.up)}\n`), dim(`  down  ${effects(logits.down)}\n`)] : []),
    ...(contexts.length === 0
      ? ['  never active in this text\n']
      : contexts.map((one) => `  ${excerpt(model, one)}\n`)),
    '\n',
  ].join('')
}

/** The tokens around the most active one; those that are half as active as that are marked. */
function excerpt(model: Model, { activation, at, tokens, activations }: Context): string {
  const all = pieces(model, tokens)
  const [from, to] = [Math.max(0, at - around), Math.min(tokens.length, at + around + 1)]
  const marked = all
    .slice(from, to)
    .map((piece, i) => (activations[from + i]! >= activation / 2 ? strong(piece) : piece))
  return `${activation.toFixed(2).padStart(6)}  ${from > 0 ? '…' : ''}${marked.join('')}${to < tokens.length ? '…' : ''}`
}
