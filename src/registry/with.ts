/** Methods by their specs, put together: `--with id:key=value`, as a library. */
import type { Rule, RuleMaker } from '../decode/index.ts'
import { closest, type Method, parseMethodSpec, readMethodOptions, type Socket } from '../method/index.ts'
import { type Edits, joinEdits, type Model } from '../model/index.ts'
import type { Steer, SteerContext } from '../steer/steer.ts'
import { methodFiles } from './methods.gen.ts'

/** What a method of the socket `rule` makes, once it has its options. */
export type RuleMethod = (model: Model, context?: SteerContext) => Promise<Rule | RuleMaker>

export interface With {
  /** Of all methods, in the order in which they were given. */
  readonly edit: Edits
  readonly rules: readonly (Rule | RuleMaker)[]
}

export interface WithOptions extends SteerContext {
  /** Whether tokens are drawn: rules have nothing to do elsewhere. */
  readonly draws?: boolean
  /** All methods by id. */
  readonly methods?: Readonly<Record<string, () => Promise<Method>>>
}

/** Why a method of this socket does nothing for a model that runs. */
const elsewhere: Readonly<Record<Exclude<Socket, 'edit' | 'rule'>, string>> = {
  adapter: 'adapters are trained, and what was trained is applied with --lora FOLDER',
  architecture: 'an architecture is part of a model from its training on',
  cache: 'no cache can be exchanged yet',
  compressor: 'it makes another checkpoint',
  curriculum: 'it is for training',
  datastore: 'no datastore can be attached yet',
  drafter: 'no drafter can be attached yet',
  embedder: 'it makes vectors of texts',
  exit: 'no exit can be attached yet',
  judge: 'it judges texts that are there',
  'language-model': 'it is a language model itself',
  lens: 'it looks into a model: glossa lens',
  objective: 'objectives are for training: glossa train, glossa adapt',
  program: 'it runs models, and is no part of one',
  router: 'it chooses between models',
  task: 'it is measured with, not generated with',
  tokenizer: 'a model keeps its tokenizer',
}

/** Opens the methods of these specs and makes what they do to the model. Their files are read here. */
export async function withMethods(
  model: Model,
  specs: readonly string[],
  { draws = true, methods = methodFiles, ...context }: WithOptions = {},
): Promise<With> {
  let edit: Edits = {}
  const rules: (Rule | RuleMaker)[] = []
  for (const text of specs) {
    const spec = parseMethodSpec(text)
    const method = await methodOf(spec.id, methods)
    const { socket } = method
    if (socket !== 'edit' && socket !== 'rule')
      throw new Error(`${spec.id} is a method of the socket '${socket}': ${elsewhere[socket]}`)
    if (socket === 'rule' && !draws)
      throw new Error(`${spec.id} is a rule for drawing tokens, and none are drawn here`)
    const made = method.make(readMethodOptions(spec, method.options))
    try {
      if (socket === 'edit') edit = joinEdits(edit, await (made as Steer)(model, context))
      else rules.push(await (made as RuleMethod)(model, context))
    } catch (error) {
      if (context.signal?.aborted) throw error
      throw new Error(`${spec.id}: ${(error as Error).message}`, { cause: error })
    }
  }
  return { edit, rules }
}

async function methodOf(id: string, methods: NonNullable<WithOptions['methods']>): Promise<Method> {
  const open = Object.hasOwn(methods, id) ? methods[id] : undefined
  if (open) return open()
  const near = closest(id, Object.keys(methods))
  if (near.length > 0) throw new Error(`there is no method '${id}'; did you mean ${near.join(', ')}?`)
  const usable: string[] = []
  for (const [own, openOwn] of Object.entries(methods))
    if (['edit', 'rule'].includes((await openOwn()).socket)) usable.push(own)
  throw new Error(`there is no method '${id}'; there are: ${usable.join(', ')}`)
}
