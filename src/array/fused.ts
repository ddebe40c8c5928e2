/**
 * Fused operations: named functions whose composed body defines meaning and gradient, and which a provider
 * may run as one operator. Each pairing is proven equal by a generated test.
 */
import type { Attributes, Aval, Call, Emitter, Op, Value } from './op.ts'
import { apply, type Tensor } from './tensor.ts'

export interface FusedDefinition<A> {
  readonly name: string
  /** The operation composed of others. */
  body(inputs: readonly Tensor[], attributes: A): readonly Tensor[]
  /** A shorter gradient than that of the body, if there is one. */
  readonly grad?: Exclude<Op<A>['grad'], string>
  readonly overwrites?: Op<A>['overwrites']
  /** One operator, or undefined where the provider or the shapes do not allow it. */
  onnx?(emitter: Emitter, inputs: readonly Value[], call: Call<A>): readonly Value[] | undefined
}

/** All fused operations, for the tests that compare each with its body. */
export const fusedOperations = new Map<string, FusedDefinition<never>>()

/** Makes a function that applies the fused operation. */
export function fused<A extends object = Attributes>(
  definition: FusedDefinition<A>,
): (inputs: readonly Tensor[], attributes: A) => Tensor[] {
  const op: Omit<Op<A>, 'shape'> = {
    name: definition.name,
    grad: definition.grad ?? 'body',
    ...(definition.overwrites && { overwrites: definition.overwrites }),
    onnx: (emitter, inputs, call) => definition.onnx?.(emitter, inputs, call),
  }
  if (fusedOperations.has(definition.name))
    throw new Error(`there are two fused operations called '${definition.name}'`)
  fusedOperations.set(definition.name, definition as unknown as FusedDefinition<never>)
  return (inputs, attributes) => {
    const expansion = definition.body(inputs, attributes)
    const types: Aval[] = expansion.map(({ shape, dtype }) => ({ shape, dtype }))
    return apply({ ...op, shape: () => types }, inputs, attributes, expansion)
  }
}
