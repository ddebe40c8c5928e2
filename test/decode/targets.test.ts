/** Generation with an encoder-decoder, against what Hugging Face transformers recorded of T5. */
import { afterAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { sentenceVectors } from '../../src/embed/index.ts'
import { Encoder, loadEncoder, loadSeq2Seq, Seq2Seq } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tokenizerFromHuggingFace } from '../../src/text/load/huggingface.ts'
import { fixture, readReference } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['t5', 't5-gated'])('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const model = Seq2Seq.open(folder, engine)
  const reference = readReference(folder)
  const { vocab } = model.spec
  const tokens = [...reference.get('tokens')!.data]
  const sources = [tokens.slice(0, 12), tokens.slice(12, 20)]
  const golden = [...reference.get('greedy')!.data]
  /** Log-probabilities of the first token of each target, by the recorded logits after the start token. */
  const first = [0, 1].map((row) => {
    const logits = [...reference.get('logits')!.data.slice(row * 16 * vocab, (row * 16 + 1) * vocab)]
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
    return logits.map((logit) => logit - total)
  })

  it('goes on greedily, sources of unequal length side by side', async () => {
    const options = { temperature: 0, maxTokens: golden.length, stopTokens: [], logprobs: 0 }
    const both = await complete(model, sources, options)
    expect(both[0]!.tokens).toEqual(golden)
    expect(both[0]!.promptTokens).toEqual(sources[0])
    for (const [row, { logprobs }] of both.entries()) {
      const best = Math.max(...first[row]!)
      expect(logprobs![0]!.token).toBe(first[row]!.indexOf(best))
      expect(logprobs![0]!.logprob).toBeCloseTo(best, 3)
    }
    const [alone] = await complete(model, [sources[1]!], options)
    expect(alone!.tokens).toEqual(both[1]!.tokens)
  })

  it('draws tokens as often as they are likely', async () => {
    const samples = 600
    const drawn = await complete(model, [sources[1]!], {
      temperature: 1,
      maxTokens: 1,
      samples,
      stopTokens: [],
      seed: 5,
    })
    const counts = new Float64Array(vocab)
    for (const { tokens } of drawn) counts[tokens[0]!]!++
    first[1]!.forEach((logprob, token) => {
      const share = Math.exp(logprob)
      // Five deviations of a share: one test in ten thousand would fail by chance, and the seed is fixed.
      expect(Math.abs(counts[token]! / samples - share)).toBeLessThan(
        5 * Math.sqrt((share * (1 - share)) / samples) + 1e-9 + 1 / samples,
      )
    })
  })

  it('ends at its end token, and takes edits of both sides', async () => {
    const end = golden[3]!
    const at = golden.indexOf(end)
    const options = { temperature: 0, maxTokens: golden.length }
    const [ended] = await complete(model, [sources[0]!], { ...options, stopTokens: [end] })
    expect(ended).toMatchObject({ tokens: golden.slice(0, at), finish: 'stop' })
    const asked = async (site: string): Promise<readonly number[]> => {
      const [result] = await complete(
        model,
        [sources[0]!],
        { ...options, stopTokens: [] },
        { edit: { [site]: (x) => x.mul(0) } },
      )
      return result!.tokens
    }
    expect(await asked('encoder.last_hidden_state')).not.toEqual(golden)
    // Logits of 0: the first token, for ever.
    expect(await asked('logits')).toEqual(golden.map(() => 0))
  })
})

describe('texts', () => {
  const letters = Array.from({ length: 61 }, (_, i) => String.fromCodePoint(0x3b1 + i))
  /** T5's kind of tokenizer: a padding token that targets begin with, an end token after each text, pieces with ▁. */
  const tokenizer = tokenizerFromHuggingFace({
    tokenizer: {
      file: 'tokenizer.json',
      json: {
        version: '1.0',
        truncation: null,
        padding: null,
        added_tokens: ['<pad>', '</s>'].map((content, id) => ({
          ...{
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
          },
        })),
        normalizer: null,
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
          pair: [],
          special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
        },
        decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
        model: {
          type: 'Unigram',
          unk_id: 2,
          vocab: [['<pad>', 0], ['</s>', 0], ['<unk>', 0], ...letters.map((letter) => [`▁${letter}`, -3])],
          byte_fallback: false,
        },
      },
    },
  })
  const { spec, params } = loadSeq2Seq(fixture('families/t5'))
  const model = new Seq2Seq({ engine, spec, params, tokenizer })

  it('are read with their end token, and begin without a space', async () => {
    const words = letters.slice(0, 5).join(' ')
    const source = [3, 4, 5, 6, 7, 1]
    const options = { temperature: 0, maxTokens: 6, stopTokens: [] }
    const [byText] = await complete(model, [words], options)
    const [byIds] = await complete(model, [source], options)
    expect(byText!.promptTokens).toEqual(source)
    expect(byText!.tokens).toEqual(byIds!.tokens)
    expect(byText!.text).toBe(tokenizer.decode([...byText!.tokens]))
    expect(byText!.text).not.toMatch(/^ /)
    expect(byText!.text.length).toBeGreaterThan(0)
  })

  it('of a sentence are made into vectors', async () => {
    const { spec: own, params: weights } = loadEncoder(fixture('families/bert'))
    const encoder = new Encoder({ engine, spec: own, params: weights, tokenizer })
    const [byText, byIds] = await sentenceVectors(encoder, [letters.slice(0, 3).join(' '), [3, 4, 5, 1]])
    expect(byText).toEqual(byIds)
  })
})
