#!/usr/bin/env node
// TensorFlow.js on its WebAssembly backend: a whole float32 training step of gpt.mjs's GPT.
//
//   node tfjs-train.mjs [--layers 8 --width 512 --heads 8 --vocab 10000 --context 256 --batch 4 --threads 2]
//
//   {"cmd":"step","repeat":2}  -> {"ms":[...],"loss":[...]}
//
// The backend multiplies matrices fast (XNNPACK) only for two plain, untransposed 2-D operands; batched products
// and transposed operands, which tfjs's own gradients consist of, go through a scalar loop 20 to 30 times slower,
// and the gradient of `gather` has no kernel at all. So the layers here bring their gradients with `tf.customGrad`:
// explicit transposes, one product per attention head, `scatterND` for the embedding. The three products of a linear
// layer's step take a sixteenth of the time they take with the library's own gradients.

import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
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
import { provideWorker } from './web-worker.mjs'

const config = flags(FLAGS)
const { layers, width, heads, context, batch, threads } = config
const require = createRequire(import.meta.url)
const [tf, wasm] = await installed(() => [
  require('@tensorflow/tfjs'),
  require('@tensorflow/tfjs-backend-wasm'),
])
const folder = path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'))

/**
 * The package ships a threaded build and turns it off in Node (tensorflow/tfjs issue 3830) because its workers are
 * started through browser calls. This supplies those: workers run the package's own worker script and import its
 * own threaded module. It also caps its threads at half the logical cores, so it is told of twice as many.
 */
function allowThreads() {
  const module = path.join(folder, 'wasm-out', 'tfjs-backend-wasm-threaded-simd.js')
  const script = require(module.replace(/js$/, 'worker.js')).wasmWorkerContents.replace(/\n/g, '\\n')
  const inside = `URL.createObjectURL = () => ${JSON.stringify(module)}; URL.revokeObjectURL = () => {};\n`
  provideWorker(
    class extends Worker {
      constructor() {
        super(inside + script, { eval: true })
      }
    },
  )
  URL.createObjectURL = () => 'unused'
  const cores = os.cpus()
  require('node:os').cpus = () => Array.from({ length: 2 * threads }, () => cores[0])
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', true)
}

const rows = batch * context
const headWidth = width / heads
const sumRows = (x) => tf.matMul(tf.ones([1, x.shape[0]]), x).reshape([x.shape[1]]) // tf.sum is scalar code here

/**
 * Intermediate results of a forward pass, for its gradient: `hold` them, and `free` them at the end of it. (The
 * `save` of tfjs copies what it saves on this backend; it is used for inputs only.) Parameters live on anyway.
 */
const hold = (tensors) => tensors.map((tensor) => tf.keep(tensor))
const free = (tensors) => tf.dispose(tensors)

/** `tf.customGrad`, which would keep every intermediate of every gradient until the whole backward pass is over. */
function differentiable(forward) {
  return tf.customGrad((...inputs) => {
    const { value, gradFunc } = forward(...inputs)
    return { value, gradFunc: (dy, saved) => tf.tidy(() => gradFunc(dy, saved)) }
  })
}

const linear = differentiable((x, weight, bias, save) => {
  save([x])
  const gradFunc = (dy, [x]) => [
    tf.matMul(dy, tf.transpose(weight)),
    tf.matMul(tf.transpose(x), dy),
    sumRows(dy),
  ]
  return { value: tf.fused.matMul({ a: x, b: weight, bias }), gradFunc }
})

const layerNorm = differentiable((x, weight, bias) => {
  const centred = x.sub(x.mean(1, true))
  const scale = centred.mul(centred).mean(1, true).add(NORM_EPSILON).rsqrt()
  const normal = centred.mul(scale)
  const held = hold([normal, scale])
  const gradFunc = (dy) => {
    const dNormal = dy.mul(weight)
    const along = normal.mul(dNormal.mul(normal).mean(1, true))
    const dx = dNormal.sub(dNormal.mean(1, true)).sub(along).mul(scale)
    const grads = [dx, sumRows(dy.mul(normal)), sumRows(dy)]
    free(held)
    return grads
  }
  return { value: normal.mul(weight).add(bias), gradFunc }
})

// 0.5 x (1 + tanh z) = x sigmoid(2 z), and the sigmoid kernel is vectorised where tanh is not.
const GELU_LINEAR = 2 * Math.sqrt(2 / Math.PI)
const GELU_CUBIC = 0.044715 * GELU_LINEAR
const gelu = differentiable((x, save) => {
  const gate = x.mul(x).mul(GELU_CUBIC).add(GELU_LINEAR).mul(x).sigmoid()
  save([x])
  const held = hold([gate])
  const gradFunc = (dy, [x]) => {
    const slope = x
      .mul(x)
      .mul(3 * GELU_CUBIC)
      .add(GELU_LINEAR)
    const dx = dy.mul(gate).mul(x.mul(slope).mul(tf.sub(1, gate)).add(1))
    free(held)
    return dx
  }
  return { value: x.mul(gate), gradFunc }
})

/**
 * Takes [rows, n * headWidth] apart into one matrix per head, [context, headWidth] or turned. `tf.unstack`, `split`
 * and `slice` copy their whole operand for every part; `gatherND` copies the part.
 */
function headsOf(x, turned) {
  const perRow = x.shape[1] / headWidth
  const order = turned ? [0, 2, 3, 1] : [0, 2, 1, 3]
  const all = tf.transpose(x.reshape([batch, context, perRow, headWidth]), order)
  const flat = all.reshape([batch * perRow, context * headWidth])
  const shape = turned ? [headWidth, context] : [context, headWidth]
  return Array.from({ length: batch * perRow }, (_, i) => tf.gatherND(flat, [[i]]).reshape(shape))
}

function joinHeads(parts, turned) {
  const perRow = parts.length / batch
  const order = turned ? [0, 3, 1, 2] : [0, 2, 1, 3]
  const all = tf.concat(parts, 0).reshape([batch, perRow, ...parts[0].shape])
  return tf.transpose(all, order).reshape([rows, perRow * headWidth])
}

/** `scale` is headWidth ** -0.5 for the columns of queries and 1 for the others. */
const attention = differentiable((qkv, scale, mask) => {
  const scaled = qkv.mul(scale)
  const plain = hold(headsOf(scaled, false))
  const turned = hold(headsOf(scaled, true))
  const at = (sample, third, head) => (3 * sample + third) * heads + head
  const each = (visit) => {
    for (let sample = 0; sample < batch; sample++)
      for (let head = 0; head < heads; head++) visit(sample, head)
  }
  const weights = []
  const mixed = []
  each((sample, head) => {
    const scores = tf.matMul(plain[at(sample, 0, head)], turned[at(sample, 1, head)])
    const weight = tf.softmax(scores.add(mask))
    weights.push(weight)
    mixed.push(tf.matMul(weight, plain[at(sample, 2, head)]))
  })
  hold(weights)
  const gradFunc = (dy) => {
    const dyPlain = headsOf(dy, false)
    const dyTurned = headsOf(dy, true)
    const dQueries = []
    const dOthers = [] // of keys and values, turned
    each((sample, head) => {
      const i = sample * heads + head
      const others = 2 * sample * heads + head
      const dWeight = tf.matMul(dyPlain[i], turned[at(sample, 2, head)]).mul(weights[i])
      const dScores = dWeight.sub(weights[i].mul(dWeight.sum(1, true)))
      dQueries[i] = tf.matMul(dScores, plain[at(sample, 1, head)])
      dOthers[others] = tf.matMul(turned[at(sample, 0, head)], dScores)
      dOthers[others + heads] = tf.matMul(dyTurned[i], weights[i])
    })
    const dScaled = tf.concat([joinHeads(dQueries, false), joinHeads(dOthers, true)], 1)
    free([plain, turned, weights])
    return [dScaled.mul(scale), tf.zerosLike(scale), tf.zerosLike(mask)]
  }
  return { value: joinHeads(mixed, false), gradFunc }
})

const embed = differentiable((tokens, positions, ids) => {
  const size = context * width
  const looked = tf.gatherND(tokens, ids).reshape([batch, size])
  const gradFunc = (dy) => [
    tf.scatterND(ids, dy, tokens.shape),
    sumRows(dy.reshape([batch, size])).reshape(positions.shape),
    tf.zerosLike(ids),
  ]
  return { value: looked.add(positions.reshape([size])).reshape([rows, width]), gradFunc }
})

/** Mean cross entropy behind the tied head; `places` are the (row, target) pairs. */
const headLoss = differentiable((x, tokens, places, save) => {
  const chances = tf.softmax(tf.matMul(x, tf.transpose(tokens)))
  const chosen = tf.gatherND(chances, places)
  save([x])
  const held = hold([chances, chosen])
  const gradFunc = (dy, [x]) => {
    const dLogits = tf.tensorScatterUpdate(chances, places, chosen.sub(1)).mul(dy.div(rows))
    const dTokens = tf.transpose(tf.matMul(tf.transpose(x), dLogits))
    const grads = [tf.matMul(dLogits, tokens), dTokens, tf.zerosLike(places)]
    free(held)
    return grads
  }
  return { value: chosen.log().mean().neg(), gradFunc }
})

serve(async () => {
  if (width % heads) throw new Error(`--width ${width} is not a multiple of --heads ${heads}`)
  if (threads > 1) allowThreads()
  wasm.setWasmPaths(`${path.join(folder, 'dist')}/`)
  wasm.setThreadsCount(threads)
  if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend did not start')
  const shapes = parameterShapes(config)
  const parameters = startingValues(shapes).map(({ name, shape, values }) => ({
    variable: tf.variable(tf.tensor(values, shape), true, name),
    moment1: tf.variable(tf.zeros(shape), false),
    moment2: tf.variable(tf.zeros(shape), false),
  }))
  const p = Object.fromEntries(parameters.map(({ variable }) => [variable.name, variable]))
  const variables = Object.values(p)
  const { inputs, targets } = tokenBatch(config)
  const ids = tf.tensor2d(inputs, [rows, 1], 'int32')
  const places = tf.tensor2d(
    Array.from(targets, (id, row) => [row, id]),
    [rows, 2],
    'int32',
  )
  const scale = tf.tensor1d(Array.from({ length: 3 * width }, (_, i) => (i < width ? headWidth ** -0.5 : 1)))
  const mask = tf.tidy(() =>
    tf.linalg
      .bandPart(tf.ones([context, context]), -1, 0)
      .sub(1)
      .mul(1e9),
  )

  function loss() {
    let x = embed(p.tokens, p.positions, ids)
    for (let layer = 0; layer < layers; layer++) {
      const at = (name) => p[`blocks.${layer}.${name}`]
      const apply = (name, x) => linear(x, at(`${name}.weight`), at(`${name}.bias`))
      const normal = (name, x) => layerNorm(x, at(`${name}.weight`), at(`${name}.bias`))
      x = x.add(apply('out', attention(apply('qkv', normal('norm1', x)), scale, mask)))
      x = x.add(apply('down', gelu(apply('up', normal('norm2', x)))))
    }
    return headLoss(layerNorm(x, p['norm.weight'], p['norm.bias']), p.tokens, places)
  }

  let steps = 0
  /** AdamW with both moments kept undivided by 1 - beta, which spares two passes over the parameters. */
  function update(grads) {
    steps += 1
    const { rate, beta1, beta2, decay, epsilon } = ADAMW
    const root = Math.sqrt((1 - beta2 ** steps) / (1 - beta2))
    const factor = (rate * (1 - beta1) * root) / (1 - beta1 ** steps)
    for (const { variable, moment1, moment2 } of parameters) {
      tf.tidy(() => {
        const grad = grads[variable.name]
        moment1.assign(moment1.mul(beta1).add(grad))
        moment2.assign(moment2.mul(beta2).add(grad.mul(grad)))
        const change = moment1.div(moment2.sqrt().add(epsilon * root)).mul(factor)
        variable.assign(variable.mul(1 - rate * decay).sub(change))
      })
      tf.dispose(grads[variable.name])
    }
  }

  function step() {
    const { value, grads } = tf.variableGrads(loss, variables)
    update(grads)
    const result = value.dataSync()[0]
    value.dispose()
    return result
  }

  return {
    info: () => ({
      name: '@tensorflow/tfjs',
      version: tf.version.tfjs,
      threads: wasm.getThreadsCount(),
      backend: `wasm ${wasm.version_wasm}, SIMD ${tf.env().getBool('WASM_HAS_SIMD_SUPPORT') ? 'on' : 'off'}`,
      threadsNote: threads > 1 ? 'threaded build, browser workers supplied by this peer' : 'as installed',
      memoryBytes: tf.memory().numBytes,
      ...config,
      ...arithmetic(config, shapes),
    }),

    step(command) {
      const repeat = count(command.repeat ?? 2, 'repeat')
      const reply = { ms: [], loss: [] }
      for (let i = 0; i < repeat; i++) {
        const begin = performance.now()
        reply.loss.push(step())
        reply.ms.push(performance.now() - begin)
      }
      return reply
    },
  }
})
