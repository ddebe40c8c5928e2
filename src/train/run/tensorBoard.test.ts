import { PbfReader } from 'pbf'
import { describe, expect, it } from 'vitest'
import { crc32c, maskedCrc, scalarEvent, versionEvent } from './tensorBoard.ts'

describe("TensorBoard's events", () => {
  it('CRC-32C gives the check values of RFC 3720', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e)
  })

  it('a record is length, its checksum, the message, its checksum', () => {
    const bytes = scalarEvent(7, 12.5, [
      ['loss', 0.25],
      ['rate', 3],
    ])
    const view = new DataView(bytes.buffer)
    const length = Number(view.getBigUint64(0, true))
    expect(bytes.length).toBe(8 + 4 + length + 4)
    expect(view.getUint32(8, true)).toBe(maskedCrc(bytes.subarray(0, 8)))
    const message = bytes.subarray(12, 12 + length)
    expect(view.getUint32(12 + length, true)).toBe(maskedCrc(message))

    const event: Record<string, unknown> = {}
    const values: [string, number][] = []
    new PbfReader(message).readFields((tag, _, pbf) => {
      if (tag === 1) event.time = pbf.readDouble()
      else if (tag === 2) event.step = pbf.readVarint()
      else if (tag === 5)
        pbf.readMessage((inner) => {
          if (inner !== 1) return
          const entry: [string, number] = ['', 0]
          pbf.readMessage((field) => {
            if (field === 1) entry[0] = pbf.readString()
            else if (field === 2) entry[1] = pbf.readFloat()
          }, undefined)
          values.push(entry)
        }, undefined)
    }, undefined)
    expect(event).toEqual({ time: 12.5, step: 7 })
    expect(values).toEqual([
      ['loss', 0.25],
      ['rate', 3],
    ])
  })

  it('a file begins with its version', () => {
    expect(new TextDecoder().decode(versionEvent(1))).toContain('brain.Event:2')
  })
})
