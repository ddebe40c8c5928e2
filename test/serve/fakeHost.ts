/** The routes over answers that are given: for what a small model does not write by itself, such as calls of tools. */
import type { Hono } from 'hono'
import type { CompletionEvent, CompletionRequest } from '../../src/serve/host/types.ts'
import { createApp, type HostConnection } from '../../src/serve/index.ts'

/** An app whose model writes these texts, one for each request, and has a Hermes template. */
export function fakeApp(answers: readonly string[]): { app: Hono; requests: CompletionRequest[] } {
  const requests: CompletionRequest[] = []
  async function* complete(request: CompletionRequest): AsyncGenerator<CompletionEvent, void, void> {
    const text = answers[requests.length]!
    requests.push(request)
    const tools = 'messages' in request.prompt && request.prompt.tools
    yield { kind: 'prompt', tokens: 7, ...(tools && { toolFormat: 'hermes' as const }) }
    for (const piece of text.match(/\S+\s*|\s+/g) ?? []) yield { kind: 'token', choice: 0, text: piece }
    yield { kind: 'end', choice: 0, text: '', finish: 'stop' }
  }
  const connection = {
    call: async () => [],
    stream: (_: string, request: CompletionRequest) => complete(request),
    close: () => undefined,
  } as unknown as HostConnection
  return { app: createApp(connection), requests }
}
