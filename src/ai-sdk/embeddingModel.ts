/** An embedding model of the AI SDK over `/v1/embeddings`. */
import type { EmbeddingModelV3, EmbeddingModelV3CallOptions, EmbeddingModelV3Result } from '@ai-sdk/provider'
import type { Endpoint } from '../remote/index.ts'
import { translated } from './languageModel.ts'

interface Answer {
  readonly data: readonly { readonly index: number; readonly embedding: number[] }[]
  readonly usage?: { readonly prompt_tokens: number }
}

export class GlossaEmbeddingModel implements EmbeddingModelV3 {
  readonly specificationVersion = 'v3'
  readonly provider = 'glossa.embedding'
  readonly maxEmbeddingsPerCall = 1024
  readonly supportsParallelCalls = true
  readonly modelId: string
  readonly #endpoint: Endpoint

  constructor(modelId: string, endpoint: Endpoint) {
    this.modelId = modelId
    this.#endpoint = endpoint
  }

  async doEmbed({
    values,
    abortSignal: signal,
    headers,
  }: EmbeddingModelV3CallOptions): Promise<EmbeddingModelV3Result> {
    const body = { model: this.modelId, input: values, encoding_format: 'float' }
    try {
      const answer = (await this.#endpoint.post('/embeddings', body, { signal, headers })) as Answer
      return {
        embeddings: [...answer.data].sort((a, b) => a.index - b.index).map(({ embedding }) => embedding),
        ...(answer.usage && { usage: { tokens: answer.usage.prompt_tokens } }),
        warnings: [],
      }
    } catch (error) {
      throw translated(error, body)
    }
  }
}
