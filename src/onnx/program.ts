/** One compiled graph over a session. */
import { type Bindings, evaluateDim } from '../array/dim.ts'
import type { DType } from '../array/dtype.ts'
import { conditionsOf, type Graph, type SizeCondition } from '../array/graph.ts'
import { bindSymbols } from '../array/interpret.ts'
import type { Program } from '../array/jit.ts'
import { fromStorage, placeholder, type Tensor } from '../array/tensor.ts'
import { OrtStorage, ortTensor } from './buffer.ts'
import { inputName, type Lowered, outputName } from './lower.ts'
import type { OrtTensor, Runtime, Session } from './runtime.ts'

export class SessionProgram implements Program {
  readonly #runtime: Runtime
  readonly #session: Session
  /** Names and types alone: the graph would keep alive what it captured. */
  readonly #inputs: Graph['inputs']
  readonly #outputs: readonly { readonly dtype: DType }[]
  readonly #conditions: readonly SizeCondition[]
  readonly #used: readonly number[]
  readonly #inPlace: ReadonlyMap<number, number>
  readonly #release: () => void
  #disposed = false

  constructor(
    runtime: Runtime,
    graph: Graph,
    session: Session,
    { used, inPlace }: Pick<Lowered, 'used' | 'inPlace'>,
    release: () => void,
  ) {
    this.#runtime = runtime
    this.#session = session
    this.#inputs = graph.inputs.map(({ name, tensor }) => ({
      name,
      tensor: placeholder(name, tensor.shape, tensor.dtype),
    }))
    this.#outputs = graph.outputs.map(({ tensor: { dtype } }) => ({ dtype }))
    this.#conditions = conditionsOf(graph)
    this.#used = used
    this.#inPlace = inPlace
    this.#release = release
  }

  async run(inputs: readonly Tensor[]): Promise<Tensor[]> {
    if (this.#disposed) throw new Error('this program has been disposed')
    this.#check(inputs)
    const feeds: Record<string, OrtTensor> = {}
    for (const i of this.#used) feeds[inputName(i)] = ortTensor(inputs[i]!.storage, this.#runtime)
    const fetches: Record<string, OrtTensor | null> = {}
    this.#outputs.forEach((_, i) => {
      const over = this.#inPlace.get(i)
      fetches[outputName(i)] = over === undefined ? null : ortTensor(inputs[over]!.storage, this.#runtime)
    })
    const results = await this.#session.run(feeds, fetches)
    return this.#outputs.map((_, i) => {
      const over = this.#inPlace.get(i)
      return over === undefined ? fromStorage(new OrtStorage(results[outputName(i)]!)) : inputs[over]!
    })
  }

  #check(inputs: readonly Tensor[]): void {
    if (inputs.length !== this.#inputs.length)
      throw new Error(`the program takes ${this.#inputs.length} inputs, got ${inputs.length}`)
    this.#inputs.forEach(({ name, tensor }, i) => {
      if (inputs[i]!.dtype !== tensor.dtype)
        throw new TypeError(`input '${name}' is ${tensor}, got dtype ${inputs[i]!.dtype}`)
    })
    const bindings: Bindings = bindSymbols(
      this.#inputs,
      inputs.map(({ sizes }) => sizes),
    )
    for (const { dim, text } of this.#conditions)
      if (evaluateDim(dim, bindings) < 0)
        throw new RangeError(
          `${text}, with ${[...bindings].map(([name, size]) => `${name} = ${size}`).join(', ')}`,
        )
  }

  endProfiling(): void {
    this.#session.endProfiling()
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#release()
  }
}
