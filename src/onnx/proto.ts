/** ONNX models as data and their protobuf encoding (onnx.proto3, IR version 10). Only the fields we use. */
import { PbfWriter } from 'pbf'
import type { DType } from '../array/dtype.ts'

export interface OnnxAttribute {
  readonly name: string
  readonly value: number | string | readonly number[] | { readonly float: number }
}

export interface OnnxNode {
  readonly op: string
  /** '' is the ONNX standard. */
  readonly domain: string
  readonly name: string
  /** An empty name is an optional input left out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: readonly OnnxAttribute[]
  /** A graph that the node runs; it may use the values of the graph that the node is in. */
  readonly body?: OnnxGraph
}

/** Where an initialiser's bytes are. */
export type TensorBytes =
  | { readonly raw: Uint8Array }
  /** `location` as ONNX Runtime resolves it; offset and length in bytes. */
  | { readonly location: string; readonly offset: number; readonly length: number }

export interface OnnxTensor {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly bytes: TensorBytes
}

export interface OnnxValueInfo {
  readonly name: string
  readonly dtype: DType
  /** A text is a named axis. */
  readonly shape: readonly (number | string)[]
}

/** A value of any shape. */
type OnnxAnyShape = Omit<OnnxValueInfo, 'shape'> & Partial<OnnxValueInfo>

export interface OnnxGraph {
  readonly name: string
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxTensor[]
  readonly inputs: readonly OnnxAnyShape[]
  readonly outputs: readonly OnnxAnyShape[]
}

export interface OnnxModel extends OnnxGraph {
  readonly metadata?: Readonly<Record<string, string>>
}

/** TensorProto.DataType */
export const dataType: Readonly<Record<DType, number>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
}

const irVersion = 10
const opsets = { '': 21, 'com.microsoft': 1 } as const

/** AttributeProto.AttributeType */
const FLOAT = 1
const INT = 2
const STRING = 3
const GRAPH = 5
const INTS = 7

const text = new TextEncoder()

function attribute({ name, value }: OnnxAttribute, pbf: PbfWriter): void {
  pbf.writeStringField(1, name)
  if (typeof value === 'number') {
    if (!Number.isInteger(value))
      throw new TypeError(`attribute '${name}' = ${value}: write { float: ${value} }`)
    pbf.writeVarintField(3, value)
    pbf.writeVarintField(20, INT)
  } else if (typeof value === 'string') {
    pbf.writeBytesField(4, text.encode(value))
    pbf.writeVarintField(20, STRING)
  } else if ('float' in value) {
    pbf.writeFloatField(2, value.float)
    pbf.writeVarintField(20, FLOAT)
  } else {
    for (const item of value) pbf.writeVarintField(8, item)
    pbf.writeVarintField(20, INTS)
  }
}

function bodyAttribute(body: OnnxGraph, pbf: PbfWriter): void {
  pbf.writeStringField(1, 'body')
  pbf.writeMessage(6, graph, body)
  pbf.writeVarintField(20, GRAPH)
}

function node({ op, domain, name, inputs, outputs, attributes, body }: OnnxNode, pbf: PbfWriter): void {
  for (const input of inputs) pbf.writeStringField(1, input)
  for (const output of outputs) pbf.writeStringField(2, output)
  pbf.writeStringField(3, name)
  pbf.writeStringField(4, op)
  for (const item of attributes) pbf.writeMessage(5, attribute, item)
  if (body) pbf.writeMessage(5, bodyAttribute, body)
  if (domain) pbf.writeStringField(7, domain)
}

function entry([key, value]: readonly [string, string], pbf: PbfWriter): void {
  pbf.writeStringField(1, key)
  pbf.writeStringField(2, value)
}

function tensor({ name, dtype, shape, bytes }: OnnxTensor, pbf: PbfWriter): void {
  for (const dim of shape) pbf.writeVarintField(1, dim)
  pbf.writeVarintField(2, dataType[dtype])
  pbf.writeStringField(8, name)
  if ('raw' in bytes) pbf.writeBytesField(9, bytes.raw)
  else {
    pbf.writeMessage(13, entry, ['location', bytes.location])
    pbf.writeMessage(13, entry, ['offset', String(bytes.offset)])
    pbf.writeMessage(13, entry, ['length', String(bytes.length)])
    pbf.writeVarintField(14, 1)
  }
}

function valueInfo({ name, dtype, shape }: OnnxAnyShape, pbf: PbfWriter): void {
  pbf.writeStringField(1, name)
  pbf.writeMessage(
    2,
    (_, type) => {
      type.writeMessage(
        1,
        (_, array) => {
          array.writeVarintField(1, dataType[dtype])
          if (!shape) return
          array.writeMessage(
            2,
            (_, dims) => {
              for (const dim of shape)
                dims.writeMessage(
                  1,
                  (_, axis) => {
                    if (typeof dim === 'number') axis.writeVarintField(1, dim)
                    else axis.writeStringField(2, dim)
                  },
                  undefined,
                )
            },
            undefined,
          )
        },
        undefined,
      )
    },
    undefined,
  )
}

function graph(model: OnnxGraph, pbf: PbfWriter): void {
  for (const item of model.nodes) pbf.writeMessage(1, node, item)
  pbf.writeStringField(2, model.name)
  for (const item of model.initializers) pbf.writeMessage(5, tensor, item)
  for (const item of model.inputs) pbf.writeMessage(11, valueInfo, item)
  for (const item of model.outputs) pbf.writeMessage(12, valueInfo, item)
}

const domainsOf = ({ nodes }: OnnxGraph): string[] =>
  nodes.flatMap(({ domain, body }) => (body ? [domain, ...domainsOf(body)] : [domain]))

/** The model as the bytes of a `.onnx` file. */
export function encodeModel(model: OnnxModel): Uint8Array {
  const pbf = new PbfWriter()
  pbf.writeVarintField(1, irVersion)
  pbf.writeStringField(2, 'glossa')
  pbf.writeMessage(7, graph, model)
  // A domain that is not used would keep programs that do not know it from reading the model.
  const used = new Set(['', ...domainsOf(model)])
  for (const [domain, version] of Object.entries(opsets).filter(([name]) => used.has(name)))
    pbf.writeMessage(
      8,
      (_, opset) => {
        opset.writeStringField(1, domain)
        opset.writeVarintField(2, version)
      },
      undefined,
    )
  for (const item of Object.entries(model.metadata ?? {})) pbf.writeMessage(14, entry, item)
  return pbf.finish()
}
