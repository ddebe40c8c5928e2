/** What every answer has: an id, the time, the model, usage; taps where they were asked for. */
import { randomUUID } from 'node:crypto'
import type { CompletionEvent } from '../host/types.ts'

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
}

export const newUsage = (): Usage => ({ prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 })

export function countTokens(usage: Usage, event: CompletionEvent): void {
  if (event.kind === 'prompt') usage.prompt_tokens += event.tokens
  if (event.kind === 'token') usage.completion_tokens++
  usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
}

export interface Head {
  readonly id: string
  readonly created: number
  readonly model: string
}

export const newHead = (prefix: string, model: string): Head => ({
  id: `${prefix}-${randomUUID().replaceAll('-', '')}`,
  created: Math.floor(Date.now() / 1000),
  model,
})

/** `context` is the model's last position: nothing more fits. */
export const finishReason = (finish: 'stop' | 'length' | 'context'): 'stop' | 'length' =>
  finish === 'stop' ? 'stop' : 'length'

/** Activations as JSON: base64 of float32, row-major. */
export const tapsJson = (event: Extract<CompletionEvent, { kind: 'taps' }>): object[] =>
  event.taps.map((tap) =>
    'data' in tap
      ? {
          site: tap.site,
          shape: tap.shape,
          dtype: 'float32',
          data: Buffer.from(tap.data.buffer, tap.data.byteOffset, tap.data.byteLength).toString('base64'),
        }
      : tap,
  )
