/** The types that GGUF has names or numbers for. */
import { blocks, type StorageType } from './checkpoint.ts'

/** Types of metadata values. Index: the number that stands for the type in the file. */
export const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const
export type GgufScalar = Exclude<(typeof valueTypes)[number], 'array'>

/** Bytes of the numeric types, and the methods of Buffer that read and write them. */
export const numbers = {
  u8: [1, 'readUInt8', 'writeUInt8'],
  i8: [1, 'readInt8', 'writeInt8'],
  u16: [2, 'readUInt16LE', 'writeUInt16LE'],
  i16: [2, 'readInt16LE', 'writeInt16LE'],
  u32: [4, 'readUInt32LE', 'writeUInt32LE'],
  i32: [4, 'readInt32LE', 'writeInt32LE'],
  f32: [4, 'readFloatLE', 'writeFloatLE'],
  f64: [8, 'readDoubleLE', 'writeDoubleLE'],
  u64: [8, 'readBigUInt64LE', 'writeBigUInt64LE'],
  i64: [8, 'readBigInt64LE', 'writeBigInt64LE'],
} as const

type Js<S extends GgufScalar> = S extends 'string'
  ? string
  : S extends 'bool'
    ? boolean
    : S extends 'u64' | 'i64'
      ? number | bigint
      : number

/** What a scalar is in JavaScript: 64-bit integers are numbers where those are exact, else bigints. */
export type GgufPlain = Js<GgufScalar>

/** A metadata value with its type in the file: `['u32', 32]`, `['string[]', ['a', 'b']]`. */
export type GgufValue = {
  [S in GgufScalar]: readonly [S, Js<S>] | readonly [`${S}[]`, readonly Js<S>[]]
}[GgufScalar]

/** Names of tensor types (ggml.h). Index: the number in the file; `-` where one was withdrawn. */
export const ggmlNames = (
  'F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS ' +
  'IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4'
).split(' ')

/** The tensor types that glossa has, by number. */
export const ggmlTypes: ReadonlyMap<number, StorageType> = new Map(
  ggmlNames.flatMap((name, id) => {
    const type = name.toLowerCase()
    return type in blocks ? [[id, type as StorageType]] : []
  }),
)
