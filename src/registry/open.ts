/** A model with its adapters and methods, on an engine of its own: what the command line and the server open. */
import { existsSync } from 'node:fs'
import { attach, load, Model, seal, type WeightFormat } from '../model/index.ts'
import { chooseProvider, Engine, nodeRuntime } from '../onnx/index.ts'
import { readAdapter } from '../train/adapters/peft.ts'
import { type Adapter, withStrength } from '../train/index.ts'
import { type With, withMethods } from './with.ts'

export interface OpenSettings {
  /** A folder in Hugging Face layout, or a file. */
  readonly path: string
  readonly weights: WeightFormat
  /** PEFT folders, each with its strength: `FOLDER:0.5`. */
  readonly lora?: readonly string[] | undefined
  /** Methods by their specs. */
  readonly with?: readonly string[] | undefined
  readonly context?: number | undefined
  readonly device: string
  readonly threads?: number | undefined
  /** What is going on, for people: what stays, and what the next line replaces. */
  readonly notes?: { readonly lasting: (text: string) => void; readonly passing: (text: string) => void }
}

/** A model and its engine, of which disposing disposes. */
export interface Opened<M> {
  readonly model: M
  /** Of the methods asked for; their edits are part of the model. */
  readonly rules: With['rules']
  [Symbol.asyncDispose](): Promise<void>
}

export async function openEngine({
  device,
  threads,
  notes,
}: Pick<OpenSettings, 'device' | 'threads' | 'notes'>): Promise<Engine> {
  const settings = threads === undefined ? {} : { threads }
  let provider = device
  if (device === 'auto') {
    const choice = await chooseProvider(settings)
    provider = choice.provider
    notes?.lasting(`device ${provider}: ${choice.reason}`)
  }
  return new Engine(nodeRuntime({ provider, ...settings }))
}

/**
 * A decoder with its adapters merged, in the format asked for. `draws`: whether tokens are drawn, by rules too.
 * `editable`: f32 weights are not sealed, so that other edits can come later.
 */
export async function openDecoder(
  settings: OpenSettings,
  { draws = true, editable = false }: { readonly draws?: boolean; readonly editable?: boolean } = {},
): Promise<Opened<Model>> {
  const { path, weights, lora = [], with: specs = [], context, notes } = settings
  const engine = await openEngine(settings)
  try {
    const open = new Model({ engine, ...load(path), ...(context !== undefined && { context }) })
    const adapted = await withAdapters(open, lora, weights !== 'stored')
    const { edit, rules } = await withMethods(adapted, specs, {
      draws,
      ...(notes && { note: notes.passing }),
    })
    const model = editable && weights === 'f32' ? adapted.edited(edit) : seal(adapted, { weights, edit })
    return { model, rules, [Symbol.asyncDispose]: () => engine.dispose() }
  } catch (error) {
    await engine.dispose()
    throw error
  }
}

/** The model with adapters, in its weights where these can change; a prefix stays before the tokens. */
async function withAdapters(model: Model, adapters: readonly string[], merge: boolean): Promise<Model> {
  if (adapters.length === 0) return model
  const attached = await attach(
    model,
    adapters.map((text) => readStrong(text, model)),
  )
  return merge && attached.adapters.some(({ params }) => params.linears || params.saved)
    ? attached.merged()
    : attached
}

/** An adapter and its strength, `FOLDER:0.5`. A folder of exactly that name is meant first. */
function readStrong(text: string, model: Model): Adapter {
  const [, folder, strength] = (existsSync(text) ? null : /^(.+):([-+]?[\d.]+)$/.exec(text)) ?? [
    text,
    text,
    '1',
  ]
  return withStrength(readAdapter(folder!, model), Number(strength))
}
