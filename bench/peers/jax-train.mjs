#!/usr/bin/env node
// jax-js on its WebAssembly backend: a whole float32 training step of gpt.mjs's GPT.
//
//   node jax-train.mjs [--layers 8 --width 512 --heads 8 --vocab 10000 --context 256 --batch 4 --threads 2]
//
//   {"cmd":"step","repeat":2}  -> {"ms":[...],"loss":[...]}
//
// The first step also traces and compiles; leave it out of measurements.

import fs from 'node:fs'
import {
  ADAMW,
  arithmetic,
  FLAGS,
  NORM_EPSILON,
  parameterShapes,
  startingValues,
  tokenBatch,
} from './gpt.mjs'
import { count, flags, installed, serve } from './protocol.mjs'
import { provideBrowserWorkers } from './web-worker.mjs'

const config = flags(FLAGS)
const { layers, width, heads, vocab, context, batch, threads } = config
// The library looks for `Worker` when it is loaded, and uses one thread where there is none.
if (threads > 1) provideBrowserWorkers(threads)
const jax = await installed(() => import('@jax-js/jax'))
const { numpy: np, nn } = jax
const rows = batch * context
const headWidth = width / heads

// Arrays are reference counted: every use consumes its operand, and `.ref` keeps it for another use.

function layerNorm(x, weight, bias) {
  const centred = x.ref.sub(x.mean(-1, { keepdims: true }))
  const variance = centred.ref.mul(centred.ref).mean(-1, { keepdims: true })
  return centred
    .div(np.sqrt(variance.add(NORM_EPSILON)))
    .mul(weight)
    .add(bias)
}

function attention(qkv, hidden) {
  const parts = qkv.reshape([batch, context, 3, heads, headWidth]).transpose([2, 0, 3, 1, 4])
  const [q, k, v] = np.split(parts, 3, 0).map((part) => part.reshape([batch, heads, context, headWidth]))
  const scores = np.matmul(q.mul(headWidth ** -0.5), k.transpose([0, 1, 3, 2])).add(hidden)
  const mixed = np.matmul(nn.softmax(scores, -1), v)
  return mixed.transpose([0, 2, 1, 3]).reshape([rows, width])
}

function loss(p, ids, targets, hidden) {
  const linear = (x, name) => np.matmul(x, p[`${name}.weight`]).add(p[`${name}.bias`])
  const normal = (x, name) => layerNorm(x, p[`${name}.weight`], p[`${name}.bias`])
  const positions = np.broadcastTo(p.positions.reshape([1, context, width]), [batch, context, width])
  let x = np.take(p.tokens.ref, ids, 0).add(positions.reshape([rows, width]))
  for (let layer = 0; layer < layers; layer++) {
    const at = (name) => `blocks.${layer}.${name}`
    const qkv = linear(normal(x.ref, at('norm1')), at('qkv'))
    x = x.add(linear(attention(qkv, hidden.ref), at('out')))
    x = x.ref.add(linear(nn.gelu(linear(normal(x, at('norm2')), at('up'))), at('down')))
  }
  hidden.dispose()
  const logits = np.matmul(normal(x, 'norm'), p.tokens.transpose())
  const wanted = np
    .arange(0, vocab, 1, { dtype: np.int32 })
    .reshape([1, vocab])
    .equal(targets.reshape([rows, 1]))
  const chosen = np.where(wanted, logits.ref, 0).sum(-1)
  return nn.logsumexp(logits, -1).sub(chosen).mean()
}

const { beta1, beta2, rate, decay, epsilon } = ADAMW

function adamw(value, grad, moment1, moment2, correction1, correction2) {
  const m = moment1.mul(beta1).add(grad.ref.mul(1 - beta1))
  const v = moment2.mul(beta2).add(grad.ref.mul(grad).mul(1 - beta2))
  const change = m.ref.mul(correction1).div(np.sqrt(v.ref.mul(correction2)).add(epsilon))
  return [value.mul(1 - rate * decay).sub(change.mul(rate)), m, v]
}

serve(async () => {
  if (width % heads) throw new Error(`--width ${width} is not a multiple of --heads ${heads}`)
  await jax.init('wasm')
  jax.defaultDevice('wasm')
  const shapes = parameterShapes(config)
  const { inputs, targets } = tokenBatch(config)
  const ids = np.array(inputs, { dtype: np.int32 })
  const targetIds = np.array(targets, { dtype: np.int32 })
  const mask = new Float32Array(context ** 2).map((_, i) =>
    i % context > Math.floor(i / context) ? -1e9 : 0,
  )
  const hidden = np.array(mask).reshape([context, context])
  const parameters = {}
  const moments1 = {}
  const moments2 = {}
  for (const { name, shape, values } of startingValues(shapes)) {
    parameters[name] = np.array(values).reshape(shape)
    moments1[name] = np.array(new Float32Array(values.length)).reshape(shape)
    moments2[name] = np.array(new Float32Array(values.length)).reshape(shape)
  }

  const lossAndGrads = jax.jit(jax.valueAndGrad(loss))
  const update = jax.jit(adamw)

  let steps = 0
  async function step() {
    steps += 1
    const [value, grads] = lossAndGrads(jax.tree.ref(parameters), ids.ref, targetIds.ref, hidden.ref)
    const correction1 = np.array([1 / (1 - beta1 ** steps)])
    const correction2 = np.array([1 / (1 - beta2 ** steps)])
    for (const [name, grad] of Object.entries(grads)) {
      const old = [parameters[name], grad, moments1[name], moments2[name]]
      // One after another, because what is not done yet holds on to its memory.
      const done = await jax.blockUntilReady(update(...old, correction1.ref, correction2.ref))
      ;[parameters[name], moments1[name], moments2[name]] = done
    }
    correction1.dispose()
    correction2.dispose()
    return (await value.data())[0]
  }

  const manifest = new URL('../package.json', import.meta.resolve('@jax-js/jax'))
  const { version } = JSON.parse(fs.readFileSync(manifest, 'utf8'))
  return {
    info: () => ({
      name: '@jax-js/jax',
      version,
      threads,
      backend: jax.defaultDevice(),
      threadsNote: threads > 1 ? 'browser workers supplied by this peer' : 'as installed',
      ...config,
      ...arithmetic(config, shapes),
    }),

    async step(command) {
      const repeat = count(command.repeat ?? 2, 'repeat')
      const reply = { ms: [], loss: [] }
      for (let i = 0; i < repeat; i++) {
        const begin = performance.now()
        reply.loss.push(await step())
        reply.ms.push(performance.now() - begin)
      }
      return reply
    },
  }
})
