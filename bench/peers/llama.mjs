#!/usr/bin/env node
// llama.cpp, through node-llama-cpp, on the CPU.
//
//   node llama.mjs --model FILE.gguf [--threads 2] [--context 1024] [--batch 512]
//
//   {"cmd":"prefill","tokens":512,"repeat":3}        -> {"ms":[...]}       logits of the last token only
//   {"cmd":"decode","tokens":64,"context":64}        -> {"ms":[...]}       one time per token, greedy
//   {"cmd":"greedy","tokens":[1,2,3],"n":64}         -> {"tokens":[...]}   stops early at an end-of-text token
//
// The public API schedules batches, splits threads and yields between tokens; this peer drives the addon's own
// context instead (private fields, so the version in package.json is pinned), which costs a token nothing but the
// evaluation and the greedy choice. Flash attention is on wherever the model allows it, and prompts are evaluated
// in batches of up to --batch tokens, 512 as in llama.cpp.

import fs from 'node:fs'
import { count, flags, installed, serve } from './protocol.mjs'

const FIRST_ORDINARY = 259 // below it lie Llama's control and byte tokens

const options = flags({ model: '', threads: 2, context: 1024, batch: 512 })
const { getLlama, getModuleVersion, LlamaLogLevel } = await installed(() => import('node-llama-cpp'))

serve(async () => {
  if (!fs.existsSync(options.model)) throw new Error(`no file ${options.model}`)
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: options.threads,
    logLevel: LlamaLogLevel.error,
    logger: (level, message) => console.error(level, message.trimEnd()),
  })
  const model = await llama.loadModel({ modelPath: options.model, gpuLayers: 0 })
  const context = await model.createContext({
    contextSize: options.context,
    batchSize: Math.min(options.batch, options.context),
    threads: options.threads,
    flashAttention: 'auto',
    sequences: 1,
  })
  const version = await getModuleVersion()
  const native = context._ctx
  const sampler = new llama._bindings.AddonSampler(model._model)
  sampler.applyConfig({ temperature: 0 })
  const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length
  const batch = context.batchSize
  const none = new Uint32Array()

  /** Evaluates tokens from `position` on and returns the greedy choice after the last one. */
  async function evaluate(tokens, position) {
    for (let from = 0; ; from += batch) {
      const part = tokens.subarray(from, from + batch)
      const last = from + batch >= tokens.length
      native.initBatch(part.length)
      const [row] = native.addToBatch(0, position + from, part, last ? Uint32Array.of(part.length - 1) : none)
      await native.decodeBatch()
      if (last) return native.sampleToken(row, sampler)
    }
  }

  function start(tokens) {
    native.removeTokenCellsFromSequence(0, 0, -1)
    return evaluate(tokens, 0)
  }

  function pseudoRandom(length, seed) {
    const first = Math.min(FIRST_ORDINARY, vocabulary - 1)
    const range = vocabulary - first
    return Uint32Array.from(
      { length },
      (_, i) => first + ((i * 7919 + seed * 104729 + ((i * i) % 8191)) % range),
    )
  }

  function fits(length) {
    if (length > options.context) throw new Error(`${length} tokens do not fit --context ${options.context}`)
  }

  let seed = 0
  return {
    info: () => ({
      name: 'node-llama-cpp',
      version,
      threads: native.getThreads(),
      backend: `llama.cpp ${llama.llamaCppRelease.release}, CPU`,
      cpu: llama.systemInfo.trim(),
      flashAttention: context.flashAttention,
      batch,
      context: context.contextSize,
      model: model.typeDescription,
      modelBytes: model.size,
      vocabulary,
    }),

    async prefill(command) {
      const length = count(command.tokens ?? 512, 'tokens')
      const repeat = count(command.repeat ?? 3, 'repeat')
      fits(length)
      const ms = []
      for (let i = 0; i < repeat; i++) {
        const tokens = pseudoRandom(length, ++seed)
        const begin = performance.now()
        await start(tokens)
        ms.push(performance.now() - begin)
      }
      return { ms }
    },

    async decode(command) {
      const length = count(command.tokens ?? 64, 'tokens')
      const before = count(command.context ?? 64, 'context')
      fits(before + length)
      let token = await start(pseudoRandom(before, ++seed))
      const ms = []
      for (let i = 0; i < length; i++) {
        const begin = performance.now()
        token = await evaluate(Uint32Array.of(token), before + i)
        ms.push(performance.now() - begin)
      }
      return { ms }
    },

    async greedy(command) {
      const n = count(command.n ?? 64, 'n')
      if (!Array.isArray(command.tokens) || command.tokens.length === 0)
        throw new Error('tokens must be a list of ids')
      for (const id of command.tokens) {
        if (count(id, 'a token id', 0) >= vocabulary) throw new Error(`token ${id} is outside ${vocabulary}`)
      }
      const prompt = Uint32Array.from(command.tokens)
      fits(prompt.length + n - 1)
      const tokens = [await start(prompt)]
      while (tokens.length < n && !model._model.isEogToken(tokens.at(-1))) {
        tokens.push(await evaluate(Uint32Array.of(tokens.at(-1)), prompt.length + tokens.length - 1))
      }
      return { tokens }
    },
  }
})
