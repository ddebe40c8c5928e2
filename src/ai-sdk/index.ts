/**
 * glossa for the AI SDK: language models and embedding models, of a server or in this process.
 *
 * @example
 * const glossa = createGlossa({ models: { stories: { path: bundledModel('default')! } } })
 * const { text } = await generateText({ model: glossa('stories'), prompt: 'Once upon a time' })
 * await glossa.close()
 */
import {
  type EmbeddingModelV3,
  type LanguageModelV3,
  NoSuchModelError,
  type ProviderV3,
} from '@ai-sdk/provider'
import { Endpoint, type EndpointOptions } from '../remote/index.ts'
import { type HostOptions, localEndpoint } from '../serve/index.ts'
import { GlossaEmbeddingModel } from './embeddingModel.ts'
import { GlossaLanguageModel } from './languageModel.ts'

/** A server, `glossa serve` or any other that is OpenAI-compatible; or models that run in a thread of this process. */
export type GlossaOptions =
  | Omit<EndpointOptions, 'retries'>
  | (Partial<HostOptions> & { readonly models: HostOptions['models'] })

export interface GlossaProvider extends ProviderV3 {
  (modelId: string): LanguageModelV3
  languageModel(modelId: string): LanguageModelV3
  embeddingModel(modelId: string): EmbeddingModelV3
  /** Ends the thread of models that run here. */
  close(): Promise<void>
}

export function createGlossa(options: GlossaOptions): GlossaProvider {
  const local = 'models' in options ? localEndpoint(options) : undefined
  // The AI SDK tries again by itself.
  const endpoint = new Endpoint({ ...(local?.options ?? (options as EndpointOptions)), retries: 0 })
  const languageModel = (modelId: string): LanguageModelV3 => new GlossaLanguageModel(modelId, endpoint)
  return Object.assign(languageModel, {
    specificationVersion: 'v3' as const,
    languageModel,
    embeddingModel: (modelId: string) => new GlossaEmbeddingModel(modelId, endpoint),
    imageModel(modelId: string): never {
      throw new NoSuchModelError({ modelId, modelType: 'imageModel' })
    },
    close: async () => local?.close(),
  })
}
