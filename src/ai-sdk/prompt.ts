/** The AI SDK's prompts as messages of OpenAI's. */
import {
  type LanguageModelV3CallOptions,
  type LanguageModelV3Prompt,
  type LanguageModelV3ToolResultOutput,
  type SharedV3Warning,
  UnsupportedFunctionalityError,
} from '@ai-sdk/provider'

const unsupported = (functionality: string, message?: string): UnsupportedFunctionalityError =>
  new UnsupportedFunctionalityError({ functionality, ...(message && { message }) })

export const messagesOf = (prompt: LanguageModelV3Prompt): object[] => prompt.flatMap(messageOf)

function messageOf(message: LanguageModelV3Prompt[number]): object[] {
  switch (message.role) {
    case 'system':
      return [{ role: 'system', content: message.content }]
    case 'user':
      return [
        {
          role: 'user',
          content: message.content
            .map((part) => {
              if (part.type !== 'text') throw unsupported(`${part.type} parts (${part.mediaType})`)
              return part.text
            })
            .join(''),
        },
      ]
    case 'assistant': {
      const text: string[] = []
      const calls: object[] = []
      for (const part of message.content) {
        if (part.type === 'text') text.push(part.text)
        else if (part.type === 'tool-call')
          calls.push({
            id: part.toolCallId,
            type: 'function',
            function: { name: part.toolName, arguments: JSON.stringify(part.input) },
          })
        // Thoughts of another model are not ours to repeat.
        else if (part.type !== 'reasoning') throw unsupported(`${part.type} parts of an assistant`)
      }
      return [{ role: 'assistant', content: text.join(''), ...(calls.length > 0 && { tool_calls: calls }) }]
    }
    case 'tool':
      return message.content.map((part) => {
        if (part.type !== 'tool-result') throw unsupported(`${part.type} parts of a tool`)
        const { toolCallId, toolName, output } = part
        return { role: 'tool', tool_call_id: toolCallId, name: toolName, content: resultText(output) }
      })
  }
}

function resultText(output: LanguageModelV3ToolResultOutput): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value)
    case 'execution-denied':
      return output.reason ?? 'The call was not allowed.'
    case 'content':
      return output.value
        .map((part) => {
          if (part.type !== 'text') throw unsupported(`${part.type} in the result of a tool`)
          return part.text
        })
        .join('')
  }
}

/** The request of a call, and what of it will not be done. */
export function requestOf(
  model: string,
  options: LanguageModelV3CallOptions,
): { body: Record<string, unknown>; warnings: SharedV3Warning[] } {
  const { responseFormat: format, tools = [], toolChoice, providerOptions } = options
  const warnings: SharedV3Warning[] = []
  const functions = tools.flatMap((tool) => {
    if (tool.type === 'function') {
      const { name, description, inputSchema } = tool
      return [
        {
          type: 'function',
          function: { name, ...(description && { description }), parameters: inputSchema },
        },
      ]
    }
    warnings.push({
      type: 'unsupported',
      feature: `tool ${tool.id}`,
      details: 'the server runs no tools of its own',
    })
    return []
  })
  const choice =
    toolChoice?.type === 'tool'
      ? { type: 'function', function: { name: toolChoice.toolName } }
      : toolChoice?.type
  const given = {
    messages: messagesOf(options.prompt),
    max_completion_tokens: options.maxOutputTokens,
    temperature: options.temperature,
    top_p: options.topP,
    top_k: options.topK,
    presence_penalty: options.presencePenalty,
    frequency_penalty: options.frequencyPenalty,
    stop: options.stopSequences?.length ? options.stopSequences : undefined,
    seed: options.seed,
    response_format:
      format?.type !== 'json'
        ? undefined
        : format.schema
          ? { type: 'json_schema', json_schema: { name: format.name ?? 'answer', schema: format.schema } }
          : { type: 'json_object' },
    tools: functions.length > 0 ? functions : undefined,
    tool_choice: functions.length > 0 ? choice : undefined,
    // `with`, `taps` and `edits`; other keys are refused by the server, by name.
    glossa: providerOptions?.glossa,
  }
  const set = Object.entries(given).filter(([, value]) => value !== undefined)
  return { body: { model, ...Object.fromEntries(set) }, warnings }
}
