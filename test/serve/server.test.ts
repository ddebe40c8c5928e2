/** OpenAI's own client against the server, over real models. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Tensor } from '../../src/array/index.ts'
import { complete, constraint, promptTokens, scoreTokens } from '../../src/decode/index.ts'
import { encode } from '../../src/interp/index.ts'
import { readSae } from '../../src/interp/sae/files/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import type { Serving } from '../../src/serve/index.ts'
import { sharedTopK } from '../jobs/sae.ts'
import { clientOf, type Json, models, startServer } from './serving.ts'

let server: Serving
let openai: OpenAI
const saeFolder = sharedTopK(mkdtempSync(join(tmpdir(), 'glossa-serve-')))
const engine = new Engine(nodeRuntime({ threads: 1 }))
const tiny = Model.open(models.tiny.path, engine)
beforeAll(async () => {
  server = await startServer({ saes: { mine: saeFolder } })
  openai = clientOf(server)
})
afterAll(() => Promise.all([server.close(0), engine.dispose()]))

const prompt = 'Once upon a time'
const greedy = { model: 'tiny', prompt, temperature: 0, max_tokens: 20 } as const

/** The error that a request gets. */
async function refusal(body: object, path = 'completions'): Promise<{ status: number; error: Json }> {
  const response = await fetch(`${server.url}/v1/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  })
  return { status: response.status, error: ((await response.json()) as { error: unknown }).error }
}

describe('/v1/completions', () => {
  it('answers what the model writes by itself', async () => {
    const [own] = await complete(tiny, [prompt], { temperature: 0, maxTokens: 20 })
    const answer = await openai.completions.create(greedy)
    expect(answer.choices).toEqual([
      { text: own!.text, index: 0, logprobs: null, finish_reason: own!.finish },
    ])
    const given = promptTokens(tiny, prompt).length
    expect(answer.usage).toEqual({
      prompt_tokens: given,
      completion_tokens: own!.tokens.length,
      total_tokens: given + own!.tokens.length,
    })
    expect(answer).toMatchObject({ object: 'text_completion', model: 'tiny' })
    expect(answer.id).toMatch(/^cmpl-/)
  })

  it('streams the same, with usage at its end', async () => {
    const whole = await openai.completions.create(greedy)
    const stream = await openai.completions.create({
      ...greedy,
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let reason: string | null = null
    let usage: unknown
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? ''
      reason = chunk.choices[0]?.finish_reason ?? reason
      usage = chunk.usage ?? usage
    }
    expect([text, reason, usage]).toEqual([
      whole.choices[0]!.text,
      whole.choices[0]!.finish_reason,
      whole.usage,
    ])
  })

  it('scores an echoed prompt of tokens as lm-evaluation-harness asks for it', async () => {
    // Its class for local completions: batches of context and continuation, and one token more that is dropped.
    const contexts = ['The cat sat on the', 'Lily went to the park with her'].map((text) =>
      promptTokens(tiny, text),
    )
    const continuation = promptTokens(tiny, ' mom and dad.').filter((id) => id !== tiny.tokenizer!.bos)
    const rows = contexts.map((context) => [...context, ...continuation])
    const answer = await openai.completions.create({
      model: 'tiny',
      prompt: rows,
      temperature: 0,
      max_tokens: 1,
      logprobs: 1,
      seed: 1234,
      echo: true,
    })
    for (const [i, row] of rows.entries()) {
      const { token_logprobs: found, top_logprobs: top, tokens } = answer.choices[i]!.logprobs!
      const scores = await scoreTokens(tiny, row)
      expect(found!.length).toBe(row.length + 1)
      expect(found![0]).toBeNull()
      const own = scores.slice(-continuation.length)
      const theirs = found!.slice(contexts[i]!.length, -1)
      for (const [k, value] of own.entries()) expect(theirs[k]).toBeCloseTo(value, 4)
      // Whether the continuation is what greedy decoding gives.
      for (const [k, likely] of top!.entries()) {
        if (k === 0) continue
        const best = Math.max(...Object.values(likely as Record<string, number>))
        expect(best).toBeGreaterThanOrEqual(found![k]!)
        expect(likely).toHaveProperty([tokens![k]!])
      }
    }
  })

  it('echoes a text as it was, with offsets into it', async () => {
    const { choices } = await openai.completions.create({ ...greedy, max_tokens: 3, echo: true, logprobs: 2 })
    const { text, logprobs } = choices[0]!
    expect(text.startsWith(prompt)).toBe(true)
    expect(logprobs!.tokens!.join('')).toBe(text)
    for (const [i, offset] of logprobs!.text_offset!.entries())
      expect(text.slice(offset).startsWith(logprobs!.tokens![i]!)).toBe(true)
    // The first token follows the mark of the beginning, which is no part of the text.
    expect(logprobs!.token_logprobs![0]).toBeLessThan(0)
    expect(Object.keys(logprobs!.top_logprobs![1]!).length).toBeLessThanOrEqual(3)
    // Without anything generated it is the prompt.
    const silent = await openai.completions.create({ ...greedy, max_tokens: 0, echo: true, logprobs: 1 })
    expect(silent.choices[0]!.text).toBe(prompt)
  })

  it('takes several prompts and several samples, by seed', async () => {
    const ask = { ...greedy, prompt: [prompt, 'The dog'], temperature: 1, n: 3, seed: 5, max_tokens: 12 }
    const first = await openai.completions.create(ask)
    const again = await openai.completions.create(ask)
    expect(first.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
    expect(again.choices).toEqual(first.choices)
    expect(new Set(first.choices.slice(0, 3).map(({ text }) => text)).size).toBe(3)
    const [own] = await complete(tiny, [prompt], { temperature: 1, samples: 3, seed: 5, maxTokens: 12 })
    expect(first.choices[0]!.text).toBe(own!.text)
    const other = await openai.completions.create({ ...ask, seed: 6 })
    expect(other.choices[0]!.text).not.toBe(first.choices[0]!.text)
  })

  it('serves 64 streams at once, each its own', async () => {
    const prompts = Array.from(
      { length: 64 },
      (_, i) => `Story ${i}: ${i % 2 ? 'A cat' : 'The old man'} had ${i}`,
    )
    const expected = await complete(tiny, prompts, { temperature: 0, maxTokens: 24 })
    const texts = await Promise.all(
      prompts.map(async (own) => {
        let text = ''
        const stream = await openai.completions.create({
          ...greedy,
          prompt: own,
          max_tokens: 24,
          stream: true,
        })
        for await (const chunk of stream) text += chunk.choices[0]!.text
        return text
      }),
    )
    expect(texts).toEqual(expected.map(({ text }) => text))
    expect(new Set(texts).size).toBeGreaterThan(20)
  })

  it('ends at stops and biases tokens', async () => {
    const { choices } = await openai.completions.create({ ...greedy, max_tokens: 60, stop: ['.', '!'] })
    expect(choices[0]!.finish_reason).toBe('stop')
    expect(choices[0]!.text).not.toMatch(/[.!]/)
    const [id] = promptTokens(tiny, ' banana').slice(-1)
    const biased = await openai.completions.create({
      ...greedy,
      max_tokens: 4,
      logit_bias: { [id!]: 100 },
    })
    expect(biased.choices[0]!.text).toBe(tiny.tokenizer!.decode([id!, id!, id!, id!]))
  })
})

describe('/v1/chat/completions', () => {
  const messages = [{ role: 'user' as const, content: 'Tom and Sam went out.' }]

  it('answers, whole and in a stream', async () => {
    const ask = { model: 'tiny', messages, temperature: 0, max_completion_tokens: 15 }
    const whole = await openai.chat.completions.create(ask)
    const [own] = await complete(tiny, [messages[0]!.content], { temperature: 0, maxTokens: 15 })
    expect(whole.choices[0]!.message).toEqual({ role: 'assistant', content: own!.text, refusal: null })
    let text = ''
    for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true }))
      text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe(own!.text)
  })

  it('gives log-probabilities with bytes', async () => {
    const { choices } = await openai.chat.completions.create({
      ...{ model: 'tiny', messages, temperature: 0, max_tokens: 5, logprobs: true, top_logprobs: 3 },
    })
    const tokens = choices[0]!.logprobs!.content!
    expect(tokens.length).toBe(5)
    for (const { token, bytes, logprob, top_logprobs: top } of tokens) {
      expect(Buffer.from(bytes!).toString()).toBe(token)
      expect(top.length).toBe(3)
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(logprob)
    }
  })

  it('keeps to a JSON schema', async () => {
    const schema = {
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 8 },
        age: { type: 'integer', minimum: 0, maximum: 99 },
      },
      required: ['name', 'age'],
      additionalProperties: false,
    }
    for (const seed of [1, 2, 3]) {
      const { choices } = await openai.chat.completions.create({
        ...{ model: 'tiny', messages, temperature: 1, seed, max_tokens: 60 },
        response_format: { type: 'json_schema', json_schema: { name: 'person', schema } },
      })
      expect(choices[0]!.finish_reason).toBe('stop')
      const person = JSON.parse(choices[0]!.message.content!) as { name: string; age: number }
      expect(Object.keys(person)).toEqual(['name', 'age'])
      expect(person.age).toBeGreaterThanOrEqual(0)
      // The same text as without a server.
      const [own] = await complete(
        tiny,
        [messages[0]!.content],
        { temperature: 1, seed, maxTokens: 60 },
        { constrain: constraint(tiny.tokenizer!, { jsonSchema: schema as never }) },
      )
      expect(choices[0]!.message.content).toBe(own!.text)
    }
  })
})

describe('other routes', () => {
  it('lists models, and says which are open', async () => {
    const { data } = await openai.models.list()
    expect(data.map(({ id }) => id)).toEqual(['tiny', 'small', 'bert'])
    expect(await openai.models.retrieve('bert')).toMatchObject({ glossa: { kind: 'encoder' } })
    await expect(openai.models.retrieve('gpt-4')).rejects.toThrow(OpenAI.NotFoundError)
  })

  it('embeds, as numbers and as bytes', async () => {
    for (const [model, one, two] of [
      ['bert', [5, 6, 7], [8, 9]],
      ['tiny', 'a', 'a b'],
    ] as [string, Json, Json][]) {
      // The client asks for base64 by itself.
      const bytes = await openai.embeddings.create({ model, input: [one, two, one] })
      const numbers = await openai.embeddings.create({ model, input: two, encoding_format: 'float' })
      expect(bytes.data[0]!.embedding).toEqual(bytes.data[2]!.embedding)
      for (const [i, x] of numbers.data[0]!.embedding.entries())
        expect(bytes.data[1]!.embedding[i]).toBeCloseTo(x, 5)
      expect(Math.hypot(...numbers.data[0]!.embedding)).toBeCloseTo(1, 5)
      expect(numbers.usage.total_tokens).toBeGreaterThan(0)
    }
  })

  it('tokenizes and back', async () => {
    const post = async (path: string, body: object): Promise<Json> =>
      (await fetch(`${server.url}/${path}`, { method: 'POST', body: JSON.stringify(body) })).json()
    const { tokens } = await post('tokenize', { model: 'tiny', content: 'A bird.' })
    expect(tokens).toEqual(promptTokens(tiny, 'A bird.'))
    const { content } = await post('detokenize', { model: 'tiny', tokens: tokens.slice(-3) })
    expect('A bird.'.endsWith(content)).toBe(true)
  })

  it('counts for Prometheus', async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text()
    expect(text).toMatch(/^glossa_requests_total\{route="completions",status="200"\} [1-9]/m)
    expect(text).toMatch(/^glossa_generated_tokens_total [1-9]/m)
    expect(text).toMatch(/^glossa_running\{model="tiny"\} 0$/m)
    expect(text).toMatch(/^glossa_first_token_seconds_count\{route="completions"\} [1-9]/m)
    expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: 'ok' })
  })
})

describe("the field 'glossa'", () => {
  it('runs methods and edits, and gives activations back', async () => {
    const site = 'blocks.1.hook_resid_post'
    const ask = (glossa: object): Promise<Json> =>
      openai.completions.create({ ...greedy, max_tokens: 8, glossa } as never)
    const plain = await ask({})
    expect(plain.choices[0].text).toBe(
      (await openai.completions.create({ ...greedy, max_tokens: 8 })).choices[0]!.text,
    )
    const tapped = await ask({ taps: [site] })
    const [tap] = tapped.choices[0].glossa.taps
    expect(tap).toMatchObject({ site, dtype: 'float32' })
    const data = new Float32Array(Uint8Array.from(Buffer.from(tap.data, 'base64')).buffer)
    const text = promptTokens(tiny, prompt)
    expect(tap.shape).toEqual([text.length + 8, tiny.spec.width])
    const own = await tiny.run([text], { read: [site] })
    const expected = (await own[site]!.load()) as Float32Array
    for (let i = 0; i < expected.length; i += 37) expect(data[i]).toBeCloseTo(expected[i]!, 4)
    // An edit of nothing, and one of something.
    expect((await ask({ edits: [{ op: 'scale', site, factor: 1 }] })).choices).toEqual(plain.choices)
    const zeroed = await ask({ edits: [{ op: 'zero', site }] })
    expect(zeroed.choices[0].text).not.toBe(plain.choices[0].text)
    const vector = Array.from({ length: tiny.spec.width }, (_, i) => (i % 3) - 1)
    const added = await ask({ edits: [{ op: 'add', site, vector, strength: 20 }] })
    const base64 = Buffer.from(Float32Array.from(vector).buffer).toString('base64')
    expect((await ask({ edits: [{ op: 'add', site, vector: base64, strength: 20 }] })).choices).toEqual(
      added.choices,
    )
    expect(added.choices[0].text).not.toBe(plain.choices[0].text)
  })

  it('gives the features of an SAE that the server has', async () => {
    const { sae } = readSae(saeFolder)
    const answer = (await openai.completions.create({
      ...{ ...greedy, max_tokens: 2 },
      glossa: { taps: [{ sae: 'mine', top: 4 }] },
    } as never)) as Json
    const [{ features, site }] = answer.choices[0].glossa.taps
    const own = await tiny.run([promptTokens(tiny, prompt)], { read: [site] })
    const program = engine.jit((params: typeof sae.params, x: Tensor) => encode({ ...sae, params }, x))
    const expected = await program(sae.params, own[site]!)
    const data = (await expected.load()) as Float32Array
    const { dSae } = sae.config
    const count = data.length / dSae
    expect(features.length).toBe(count + 2)
    for (let token = 0; token < count; token++) {
      const row = [...data.subarray(token * dSae, (token + 1) * dSae)]
      const best = row
        .map((activation, feature) => ({ feature, activation }))
        .sort((a, b) => b.activation - a.activation)
      for (const [i, { feature, activation }] of best.slice(0, 4).entries()) {
        expect(features[token][i].feature).toBe(feature)
        expect(features[token][i].activation).toBeCloseTo(activation, 3)
      }
    }
  })

  it('refuses sites, methods and vectors that do not fit', async () => {
    for (const [glossa, problem] of [
      [{ taps: ['blocks.99.hook_resid_post'] }, /no site 'blocks\.99/],
      [{ taps: [{ sae: 'yours' }] }, /no SAE 'yours'; there are: mine/],
      [{ edits: [{ op: 'add', site: 'blocks.0.hook_resid_post', vector: [1, 2] }] }, /2 numbers/],
      [{ edits: [{ op: 'turn', site: 'blocks.0.hook_resid_post' }] }, /glossa\.edits/],
      [{ with: ['no-such-method'] }, /no-such-method/],
      [{ wth: [] }, /wth/],
    ] as const) {
      const { status, error } = await refusal({ ...greedy, glossa })
      expect([status, error.message]).toEqual([400, expect.stringMatching(problem)])
    }
  })
})

describe('refusals', () => {
  it.each([
    [{ ...greedy, suffix: 'x' }, 400, 'suffix', /filling in/],
    [{ ...greedy, best_of: 3 }, 400, 'best_of', /ask for n/],
    [{ ...greedy, temprature: 1 }, 400, 'temprature', /did you mean 'temperature'/],
    [{ ...greedy, top_p: 0 }, 400, 'top_p', /top_p/],
    [{ ...greedy, temperature: 'hot' }, 400, 'temperature', /temperature/],
    [{ ...greedy, n: 0 }, 400, 'n', /n/],
    [{ ...greedy, stop: [''] }, 400, 'stop.0', /stop/],
    [{ ...greedy, prompt: [] }, 400, 'prompt', /prompt/],
    [{ ...greedy, prompt: [999999] }, 400, null, /999999/],
    [{ ...greedy, max_tokens: 0 }, 400, 'max_tokens', /echo/],
    [{ ...greedy, model: 'gpt-4' }, 404, null, /no model 'gpt-4'; there are: tiny/],
    [{ ...greedy, model: 'bert' }, 400, null, /encoder/],
    [{ ...greedy, grammar: 'root ::= "a' }, 400, null, /./],
    [{ ...greedy, grammar: 'root ::= "a"', json_schema: {} }, 400, 'json_schema', /exclude/],
    [{ ...greedy, logit_bias: { the: 1 } }, 400, 'logit_bias.the', /token ids/],
    [{ ...greedy, prompt: 'a '.repeat(2000) }, 400, null, /positions/],
    [[], 400, null, /JSON object/],
  ])('%o', async (body, status, param, message) => {
    const found = await refusal(body as object)
    expect(found).toEqual({
      status,
      error: expect.objectContaining({ message: expect.stringMatching(message), param: param ?? null }),
    })
  })

  const f = { type: 'function', function: { name: 'f' } }
  it.each([
    [{ tool_choice: 'required' }, 'tool_choice', /no 'tools'/],
    [{ tool_choice: 'always' }, 'tool_choice', /none/],
    [{ tool_choice: { type: 'function', function: { name: 'g' } }, tools: [f] }, 'tool_choice', /'g'.* f$/],
    [{ tool_choice: 'required', tools: [f], json_schema: {} }, 'tool_choice', /excludes/],
    [{ tool_choice: 'required', tools: [f] }, null, /chat template/],
    [{ tools: [{ type: 'function', function: { name: 'f' } }] }, null, /chat template/],
    [{ functions: [] }, 'functions', /'tools'/],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
      'messages.0.content.0.type',
      /parts of text/,
    ],
    [{ messages: [] }, 'messages', /messages/],
    [{ top_logprobs: 3 }, 'top_logprobs', /logprobs/],
    [{ max_tokens: 0 }, 'max_tokens', /nothing/],
  ])('of chat: %o', async (fields, param, message) => {
    const body = { model: 'tiny', messages: [{ role: 'user', content: 'Hi' }], ...fields }
    const { status, error } = await refusal(body, 'chat/completions')
    expect([status, error.param]).toEqual([400, param])
    expect(error.message).toMatch(message)
  })

  it('takes what is harmless', async () => {
    const answer = await openai.completions.create({
      ...greedy,
      ...{ user: 'me', metadata: { a: 'b' }, store: false, top_k: -1, presence_penalty: 0, suffix: null },
    } as never)
    expect((answer as OpenAI.Completion).choices[0]!.text).not.toBe('')
  })

  it('answers a path that there is not, and a body that is no JSON', async () => {
    const missing = await fetch(`${server.url}/v1/engines`)
    expect([missing.status, ((await missing.json()) as Json).error.message]).toEqual([
      404,
      'there is nothing at GET /v1/engines',
    ])
    const broken = await fetch(`${server.url}/v1/completions`, { method: 'POST', body: '{"model":' })
    expect([broken.status, ((await broken.json()) as Json).error.message]).toEqual([
      400,
      expect.stringMatching(/not JSON/),
    ])
  })
})
