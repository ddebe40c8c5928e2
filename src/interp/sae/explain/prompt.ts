/**
 * Explanations by a text model, and scores of explanations by one (Paulo et al. 2024; the prompts are our own).
 *
 * Anything that answers a prompt can be asked: with `asking`, a local model or an endpoint.
 *
 * @example
 * const text = await explainBy(ask, contexts.of(17).sample, decode)
 * const scores = await score(textRater(ask, text, decode), examplesOf(heldOut, 17)!)
 */
import type { TextModel } from '../../../remote/index.ts'
import type { ActiveContext } from './contexts.ts'
import type { Marked, Rater } from './scores.ts'

export type Ask = (prompt: string) => Promise<string>

/** A text model asked greedily, so that its answers are the same each time. */
export const asking =
  (model: TextModel, maxTokens = 100): Ask =>
  async (prompt) => {
    const [answers] = await model.complete([[{ role: 'user', content: prompt }]], {
      maxTokens,
      temperature: 0,
    })
    return answers![0]!.text
  }

type Decode = (tokens: readonly number[]) => string

/** A context as text, with stretches of marked tokens between << and >>. */
export function markedText(
  tokens: ArrayLike<number>,
  isMarked: (at: number) => boolean,
  decode: Decode,
): string {
  let text = ''
  for (let from = 0; from < tokens.length; ) {
    const marked = isMarked(from)
    let to = from + 1
    while (to < tokens.length && isMarked(to) === marked) to++
    const part = decode(Array.from({ length: to - from }, (_, i) => tokens[from + i]!))
    text += marked ? `<<${part}>>` : part
    from = to
  }
  return text.replaceAll('\n', '\\n')
}

/** The prompt that asks for an explanation. Activations are given as whole numbers up to 10, as in the paper. */
export function explainerPrompt(contexts: readonly ActiveContext[], decode: Decode): string {
  if (contexts.length === 0) throw new Error('explainerPrompt: there are no contexts')
  const largest = Math.max(...contexts.map(({ activations }) => Math.max(...activations)))
  const examples = contexts.map(({ tokens, activations }, i) => {
    const strengths = Array.from(activations).flatMap((value, at) =>
      value > 0
        ? [`${JSON.stringify(decode([tokens[at]!]))} ${Math.max(1, Math.floor((10 * value) / largest))}`]
        : [],
    )
    return `Example ${i + 1}: ${markedText(tokens, (at) => activations[at]! > 0, decode)}\nStrengths: ${strengths.join(', ')}`
  })
  return `A detector inside a language model reacts to some tokens of a text. Below are texts in which it reacted. The tokens it reacted to stand between << and >>, and their strengths, from 1 to 10, are listed below each text.

${examples.join('\n\n')}

What do the marked tokens, or the places where they stand, have in common? Answer with one short phrase that tells where the detector reacts, and nothing else. Do not mention examples, marks or strengths.
Phrase:`
}

export const explainBy = async (
  ask: Ask,
  contexts: readonly ActiveContext[],
  decode: Decode,
): Promise<string> => (await ask(explainerPrompt(contexts, decode))).trim()

/** Texts of one prompt, as many as in Delphi. */
const perPrompt = 5

/** A text model's yes or no to each text, as 1 or 0. */
export function textRater(ask: Ask, explanation: string, decode: Decode): Rater {
  const rate = async (question: string, texts: readonly string[]): Promise<number[]> => {
    const answers: number[] = []
    for (let i = 0; i < texts.length; i += perPrompt) {
      const part = texts.slice(i, i + perPrompt)
      const numbered = part.map((text, j) => `Text ${j + 1}: ${text}`).join('\n')
      const prompt = `A detector inside a language model is said to react to: ${explanation}\n\n${numbered}\n\n${question} Answer with a JSON list of ${part.length} numbers, 1 for yes and 0 for no, and nothing else.\nList:`
      answers.push(...parsed(await ask(prompt), part.length))
    }
    return answers
  }
  return {
    threshold: 0.5,
    contexts: (examples) =>
      rate(
        'For each text: does the detector react anywhere in it?',
        examples.map((tokens) => markedText(tokens, () => false, decode)),
      ),
    marked: (examples: readonly Marked[]) =>
      rate(
        'For each text: are the tokens between << and >> those that the detector reacts to?',
        examples.map(({ tokens, marked }) => markedText(tokens, (at) => marked.includes(at), decode)),
      ),
  }
}

function parsed(answer: string, count: number): number[] {
  const list = /\[([\s\d.,]*)\]/.exec(answer)?.[1]
  const numbers = list?.split(',').map(Number)
  if (numbers?.length !== count || numbers.some((x) => !(x >= 0 && x <= 1)))
    throw new Error(
      `a list of ${count} numbers from 0 to 1 was asked for, but the model answered: ${answer.slice(0, 200)}`,
    )
  return numbers
}
