/** One compiled graph over a session. */
import { type Bindings, evaluateDim, evaluateShape, type Shape } from '../array/dim.ts'
import type { DType } from '../array/dtype.ts'
import { conditionsOf, type Graph, type SizeCondition } from '../array/graph.ts'
import { bindSymbols } from '../array/interpret.ts'
import type { Program } from '../array/jit.ts'
import type { Storage } from '../array/storage.ts'
import { fromStorage, placeholder, type Tensor } from '../array/tensor.ts'
import type { Lowered } from './lower.ts'
import type { OwnStorage, Runtime, Session } from './runtime.ts'

/** A program that is collected without having been disposed of releases its session then. */
const forgotten = new FinalizationRegistry<() => void>((release) => release())

export class SessionProgram implements Program {
  readonly #runtime: Runtime
  readonly #session: Session
  /** Names and types alone: the graph would keep alive what it captured. */
  readonly #inputs: Graph['inputs']
  readonly #outputs: readonly { readonly dtype: DType; readonly shape: Shape }[]
  readonly #conditions: readonly SizeCondition[]
  readonly #used: readonly number[]
  readonly #inPlace: ReadonlyMap<number, number>
  /** Outputs that take the memory of an argument given away in the run before: output -> input. */
  readonly #recycled: ReadonlyMap<number, number>
  readonly #spare = new Map<number, OwnStorage>()
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
    this.#outputs = graph.outputs.map(({ tensor: { dtype, shape } }) => ({ dtype, shape }))
    this.#conditions = conditionsOf(graph)
    this.#used = used
    this.#inPlace = inPlace
    // An operator may still read what another has overwritten, so these memories take turns instead.
    this.#recycled = new Map([...(graph.inPlace ?? [])].filter(([output]) => !inPlace.has(output)))
    this.#release = release
    forgotten.register(this, release, this)
  }

  async run(inputs: readonly Tensor[]): Promise<Tensor[]> {
    if (this.#disposed) throw new Error('this program has been disposed')
    const bindings = this.#check(inputs)
    const outputs = this.#outputs.map(({ dtype, shape }, i) => {
      const over = this.#inPlace.get(i)
      if (over !== undefined && this.#runtime.overwritable?.(inputs[over]!.storage))
        return inputs[over]!.storage
      const sizes = evaluateShape(shape, bindings)
      return this.#takeSpare(i, sizes) ?? this.#runtime.allocate(dtype, sizes)
    })
    await this.#session.run(
      this.#used.map((i) => inputs[i]!.storage),
      outputs,
    )
    for (const [output, input] of this.#recycled) this.#giveAway(output, inputs[input]!)
    return outputs.map((storage, i) => {
      const over = this.#inPlace.get(i)
      return over !== undefined && inputs[over]!.storage === storage ? inputs[over]! : fromStorage(storage)
    })
  }

  #takeSpare(output: number, sizes: readonly number[]): Storage | undefined {
    const spare = this.#spare.get(output)
    this.#spare.delete(output)
    return spare && `${spare.shape}` === `${sizes}` ? spare : undefined
  }

  /** Keeps the memory of an argument for the next run; reading the argument is an error from now on. */
  #giveAway(output: number, { storage }: Tensor): void {
    // What a file can give again, or somebody else owns, is let go; only our own results are written over.
    if ('give' in storage) this.#spare.set(output, (storage as OwnStorage).give())
  }

  /** Throws for arguments that do not fit; gives the sizes of the named axes. */
  #check(inputs: readonly Tensor[]): Bindings {
    if (inputs.length !== this.#inputs.length)
      throw new Error(`the program takes ${this.#inputs.length} inputs, got ${inputs.length}`)
    this.#inputs.forEach(({ name, tensor }, i) => {
      if (inputs[i]!.dtype !== tensor.dtype)
        throw new TypeError(`input '${name}' is ${tensor}, got dtype ${inputs[i]!.dtype}`)
    })
    if (this.#inPlace.size + this.#recycled.size > 0) this.#checkOwners(inputs)
    const bindings: Bindings = bindSymbols(
      this.#inputs,
      inputs.map(({ sizes }) => sizes),
    )
    for (const { dim, text } of this.#conditions)
      if (evaluateDim(dim, bindings) < 0)
        throw new RangeError(
          `${text}, with ${[...bindings].map(([name, size]) => `${name} = ${size}`).join(', ')}`,
        )
    return bindings
  }

  /** What is written over must not be another input as well, and nothing can be given away twice. */
  #checkOwners(inputs: readonly Tensor[]): void {
    const given = [...this.#inPlace.values(), ...this.#recycled.values()]
    const owners = new Map(given.map((i) => [inputs[i]!.storage, i]))
    for (const i of this.#inPlace.size > 0 ? [...given, ...this.#used] : given) {
      const owner = owners.get(inputs[i]!.storage)
      if (owner !== undefined && owner !== i)
        throw new Error(
          `input '${this.#inputs[owner]!.name}' is written over and is input '${this.#inputs[i]!.name}' too`,
        )
    }
  }

  endProfiling(): void {
    this.#session.endProfiling()
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#spare.clear()
    forgotten.unregister(this)
    this.#release()
  }
}
