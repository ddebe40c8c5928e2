// The GPT that the training peers share: its sizes, the same starting weights and tokens in every language, and
// how its arithmetic is counted. It is torch_train.py's model: GPT-2 with learned positions, LayerNorm with bias,
// tanh GELU, tied head, trained by AdamW on one batch of random tokens.

export const FLAGS = { layers: 8, width: 512, heads: 8, vocab: 10000, context: 256, batch: 4, threads: 2 }
export const ADAMW = { rate: 3e-4, beta1: 0.9, beta2: 0.95, decay: 0.1, epsilon: 1e-8 }
export const NORM_EPSILON = 1e-5
const DEVIATION = 0.02

/**
 * The parameters by name, with their shapes. Matrices are stored inputs by outputs, as `x @ w` wants them; PyTorch's
 * are the transposes, so torch_losses.py transposes what it draws.
 */
export function parameterShapes({ layers, width, vocab, context }) {
  const shapes = { tokens: [vocab, width], positions: [context, width] }
  const norm = (name) => {
    shapes[`${name}.weight`] = [width]
    shapes[`${name}.bias`] = [width]
  }
  const linear = (name, inputs, outputs) => {
    shapes[`${name}.weight`] = [inputs, outputs]
    shapes[`${name}.bias`] = [outputs]
  }
  for (let layer = 0; layer < layers; layer++) {
    norm(`blocks.${layer}.norm1`)
    linear(`blocks.${layer}.qkv`, width, 3 * width)
    linear(`blocks.${layer}.out`, width, width)
    norm(`blocks.${layer}.norm2`)
    linear(`blocks.${layer}.up`, width, 4 * width)
    linear(`blocks.${layer}.down`, 4 * width, width)
  }
  norm('norm')
  return shapes
}

/** Well-mixed 32 bits of (stream, index): integers only, so that every language draws the same. */
function hash(stream, index) {
  let x = (Math.imul(stream + 1, 0x9e3779b9) ^ index) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}

/** Matrices uniform with standard deviation 0.02, gains 1, biases 0. */
export function startingValues(shapes) {
  const limit = DEVIATION * Math.sqrt(3)
  return Object.entries(shapes).map(([name, shape], stream) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b))
    if (shape.length === 2)
      for (let i = 0; i < values.length; i++) values[i] = limit * (hash(stream, i) / 2 ** 31 - 1)
    else if (name.endsWith('.weight')) values.fill(1)
    return { name, shape, values }
  })
}

/** One batch: `inputs` and `targets`, both batch * context ids; targets are the inputs moved by one. */
export function tokenBatch({ batch, context, vocab }) {
  const inputs = new Int32Array(batch * context)
  const targets = new Int32Array(batch * context)
  for (let row = 0; row < batch; row++) {
    for (let i = 0; i < context; i++) {
      const at = row * (context + 1) + i
      inputs[row * context + i] = hash(-2, at) % vocab
      targets[row * context + i] = hash(-2, at + 1) % vocab
    }
  }
  return { inputs, targets }
}

/**
 * Arithmetic of one step as torch_train.py counts it: 6 per matmul parameter and token (the head counts, look-ups do
 * not) and 12 * layers * context * width per token for attention, causal masking not subtracted.
 */
export function arithmetic({ layers, width, vocab, context, batch }, shapes) {
  const matmulParameters = 12 * layers * width ** 2 + vocab * width
  const tokensPerStep = batch * context
  return {
    parameters: Object.values(shapes).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b), 0),
    matmulParameters,
    tokensPerStep,
    flopsPerStep: (6 * matmulParameters + 12 * layers * context * width) * tokensPerStep,
  }
}
