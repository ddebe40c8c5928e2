/**
 * TensorBoard's events: records of a protocol buffer message `Event` with the scalars of one step.
 *
 * A record is its length as u64, the masked CRC-32C of those eight bytes, the message, and its masked CRC-32C
 * (TensorFlow, tensorflow/core/lib/io/record_writer.cc).
 */
import { PbfWriter } from 'pbf'

/** The first record of a file. */
export const versionEvent = (seconds: number): Uint8Array =>
  record(event(seconds, undefined, (pbf) => pbf.writeStringField(3, 'brain.Event:2')))

/** Scalars of one step, by tag. */
export const scalarEvent = (
  step: number,
  seconds: number,
  scalars: readonly (readonly [tag: string, value: number])[],
): Uint8Array =>
  record(
    event(seconds, step, (pbf) =>
      pbf.writeMessage(
        5,
        (_, summary) => {
          for (const [tag, value] of scalars)
            summary.writeMessage(
              1,
              (__, entry) => {
                entry.writeStringField(1, tag)
                entry.writeFloatField(2, value)
              },
              undefined,
            )
        },
        undefined,
      ),
    ),
  )

function event(seconds: number, step: number | undefined, write: (pbf: PbfWriter) => void): Uint8Array {
  const pbf = new PbfWriter()
  pbf.writeDoubleField(1, seconds)
  if (step !== undefined) pbf.writeVarintField(2, step)
  write(pbf)
  return pbf.finish()
}

function record(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + 4 + message.length + 4)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(message.length), true)
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true)
  bytes.set(message, 12)
  view.setUint32(12 + message.length, maskedCrc(message), true)
  return bytes
}

/** Castagnoli's polynomial, reflected. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc >>> 0
})

/** CRC-32C of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (table[(crc ^ byte) & 255]! ^ (crc >>> 8)) >>> 0
  return (crc ^ 0xffffffff) >>> 0
}

/** Turned and shifted, so that the CRC of a record that holds CRCs is a good one. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
