import { expect, it } from 'vitest'
import { TransferBar } from '../../src/cli/transferBar.ts'

it('shows bytes, the rate of the last seconds, and the time that is left', () => {
  let now = 0
  const bar = new TransferBar('org/name', () => now)
  // Half was there before.
  expect(bar.text(50e6, 100e6, 60)).toBe('org/name: 50 %, 50 MB of 100 MB [=============             ]')
  now = 1000
  expect(bar.text(52e6, 100e6, 0)).toBe('org/name: 52 %, 52 MB of 100 MB, 2 MB/s, 24 s left')
  // Six seconds later the first moment no longer counts: 12 MB in six seconds.
  now = 7000
  bar.text(64e6, 100e6, 0)
  now = 8000
  expect(bar.text(64e6, 100e6, 0)).toBe('org/name: 64 %, 64 MB of 100 MB')
  now = 9000
  expect(bar.text(64.1e6, 100e6, 0)).toBe('org/name: 64 %, 64.1 MB of 100 MB, 50 kB/s, 11 min 58 s left')
})
