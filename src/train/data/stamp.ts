/** What tells rows apart without reading them. */
import { resolve } from 'node:path'
import { stat } from '../../store/file.ts'

/** Of a file and how it is read: another size, time of change or reading, another stamp. */
export function stampOf(path: string, ...reading: readonly unknown[]): string {
  const { size, mtimeMs } = stat(path)
  return JSON.stringify([resolve(path), size, Math.round(mtimeMs), ...reading])
}

/** Of rows made from others; unknown if one of theirs is. */
export function stampFrom(
  what: string,
  parts: readonly { readonly stamp?: string | undefined }[],
): string | undefined {
  const stamps = parts.map(({ stamp }) => stamp)
  return stamps.every((stamp) => stamp !== undefined) ? JSON.stringify([what, ...stamps]) : undefined
}
