/**
 * The one table of primitives: each with its shape rule, gradient, ONNX form and reference evaluation.
 * A primitive that lacks a rule does not compile. Everything else is a composed function.
 */
import type { Op, Primitive } from '../op.ts'
import { elementwise } from './elementwise.ts'
import { layout } from './layout.ts'
import { linear } from './linear.ts'
import { loops } from './loop.ts'
import { reductions } from './reduce.ts'

export const primitives = { ...elementwise, ...reductions, ...layout, ...linear, ...loops }

export type PrimitiveName = keyof typeof primitives
type AttributesOf<O> = O extends Op<infer A> ? A : never
export type PrimitiveAttributes = { readonly [P in PrimitiveName]: AttributesOf<(typeof primitives)[P]> }

primitives satisfies { readonly [P in PrimitiveName]: Primitive<PrimitiveAttributes[P]> }
