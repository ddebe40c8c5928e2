/** A local decoder as a text model: what methods that see texts alone ask. */
import type { Model } from '../model/index.ts'
import type { Completed, Scored, TextModel, TextPrompt } from '../remote/index.ts'
import { applyChatTemplate, type ChatMessage } from '../text/chat.ts'
import { constraint, type JsonSchema } from './constrain/index.ts'
import { complete, promptTokens } from './generate.ts'
import { meanState } from './meanState.ts'
import { scoreTop } from './scoreTop.ts'

export function textModel(model: Model): TextModel {
  const { tokenizer } = model
  if (!tokenizer) throw new Error(`${model.path} has no tokenizer, which a text model needs`)
  const idsOf = (prompt: TextPrompt): number[] => {
    if (typeof prompt === 'string') return promptTokens(model, prompt)
    if (tokenizer.chatTemplate === undefined) return promptTokens(model, plainChat(prompt))
    return applyChatTemplate(
      tokenizer,
      prompt.map((message) => ({ ...message })),
    ).ids
  }
  return {
    id: model.path,
    async complete(prompts, options = {}, signal) {
      const { jsonSchema, stop, temperature = 1, ...rest } = options
      const answers: Completed[][] = []
      for (const prompt of prompts) {
        const rows = await complete(
          model,
          [idsOf(prompt)],
          { ...rest, temperature, ...(stop && { stop: [...stop] }) },
          {
            ...(signal && { signal }),
            ...(jsonSchema && { constrain: constraint(tokenizer, { jsonSchema: jsonSchema as JsonSchema }) }),
          },
        )
        answers.push(
          rows.map(({ text, finish }) => ({ text, finish: finish === 'stop' ? 'stop' : 'length' })),
        )
      }
      return answers
    },
    async score(pairs, signal) {
      const scores: Scored[] = []
      for (const [context, continuation] of pairs) {
        signal?.throwIfAborted()
        const ids = promptTokens(model, context + continuation)
        const given = sharedTokens(ids, promptTokens(model, context))
        const scored = (await scoreTop(model, ids, 1)).slice(Math.max(0, given - 1))
        scores.push({
          logprob: scored.reduce((sum, { logprob }) => sum + logprob, 0),
          tokens: scored.length,
          greedy: scored.every(({ logprob, top }) => top[0]!.logprob <= logprob),
        })
      }
      return scores
    },
    async embed(texts, signal) {
      const vectors: Float32Array[] = []
      for (const text of texts) {
        signal?.throwIfAborted()
        vectors.push(await meanState(model, promptTokens(model, text)))
      }
      return vectors
    },
  }
}

/** Tokens that both begin with: a context's last ones can be others when the text goes on. */
function sharedTokens(whole: readonly number[], context: readonly number[]): number {
  let count = 0
  while (count < context.length && whole[count] === context[count]) count++
  return count
}

/**
 * A model without a chat template was not trained for conversations: it goes on with the contents of the messages, one
 * under the other, as it would with any text.
 */
export const plainChat = (messages: readonly Pick<ChatMessage, 'content'>[]): string =>
  messages
    .map(({ content }) =>
      typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join(''),
    )
    .filter((part) => part !== '')
    .join('\n\n')
