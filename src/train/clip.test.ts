/** Clipping against `torch.nn.utils.clip_grad_norm_` (test/fixtures/optimizers.py). */
import { afterAll, describe, expect, it } from 'vitest'
import { allClose, fixture, readReference } from '../../test/reference.ts'
import { leaves, type Tensor, tensor, trace, zeros } from '../array/index.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { clipByGlobalNorm, globalNorm } from './clip.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const reference = readReference(fixture('optimizers'))
const paths = [...reference.keys()].flatMap((name) => (name.startsWith('grads.') ? [name.slice(6)] : []))
const at = (prefix: string, step: number): Record<string, Tensor> =>
  Object.fromEntries(
    paths.map((path) => {
      const { shape, data } = reference.get(`${prefix}.${path}`)!
      const size = data.length / shape[0]!
      return [path, tensor((data as Float32Array).slice(step * size, (step + 1) * size), shape.slice(1))]
    }),
  )

describe('clipByGlobalNorm', () => {
  it('is as in PyTorch, above and below the largest norm', async () => {
    using clip = engine.jit((grads: Record<string, Tensor>) => clipByGlobalNorm(grads, 1))
    const norms = reference.get('clip.norm')!.data as Float32Array
    expect(norms.some((norm) => norm < 1) && norms.some((norm) => norm > 1)).toBe(true)
    for (let step = 0; step < norms.length; step++) {
      const { grads, norm } = await clip(at('grads', step))
      allClose([norm.item()], [norms[step]!], { atol: 0, rtol: 3e-7, name: `norm ${step}` })
      for (const [path, expected] of Object.entries(at('clip', step)))
        allClose(grads[path]!.data as Float32Array, expected.data as Float32Array, {
          atol: 0,
          rtol: 5e-7,
          name: `${path} in step ${step}`,
        })
    }
  })

  it('counts large leaves and small ones, whatever the tree', async () => {
    const big = tensor(new Float32Array(130 * 128).fill(0.5), [130, 128])
    const tree = { a: [big, tensor([3])], b: { c: tensor([4], []) } }
    const norm = await engine.compute(globalNorm(tree))
    expect(norm.item()).toBeCloseTo(Math.sqrt(130 * 128 * 0.25 + 25), 4)
  })

  it('leaves zeros and an empty tree as they are', async () => {
    const { grads, norm } = await engine.compute(clipByGlobalNorm({ w: zeros([3]) }, 1))
    expect([...grads.w.data, norm.item()]).toEqual([0, 0, 0, 0])
    expect((await engine.compute(globalNorm({}))).item()).toBe(0)
  })

  it('does not hide a gradient that is no number', async () => {
    const bad = { a: tensor([1, Number.NaN]), b: tensor([1]) }
    const { grads, norm } = await engine.compute(clipByGlobalNorm(bad, 1))
    expect(norm.item()).toBeNaN()
    expect(grads.b.item()).toBeNaN()
  })

  it('refuses a norm that nothing can have', () => {
    for (const max of [0, -1, Number.NaN]) expect(() => clipByGlobalNorm({}, max)).toThrow('above 0')
  })

  it('adds two nodes for each small leaf', () => {
    const tree = (count: number) => Array.from({ length: count }, () => zeros([4]))
    const nodes = (count: number): number => {
      const { graph } = trace((grads: Tensor[]) => clipByGlobalNorm(grads, 1), [tree(count)])
      const seen = new Set<Tensor>()
      const visit = (node: Tensor): void => {
        if (seen.has(node)) return
        seen.add(node)
        if (node.source.kind === 'call') for (const input of node.source.call.inputs) visit(input)
      }
      for (const [, leaf] of leaves(graph.outputs.map(({ tensor }) => tensor))) visit(leaf)
      return [...seen].filter(({ source }) => source.kind === 'call').length
    }
    // A vector needs no reshape to be joined, so only its product with the factor is new.
    expect(nodes(40) - nodes(30)).toBe(10)
  })
})
