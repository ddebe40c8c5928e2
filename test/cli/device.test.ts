/** --device auto, as a process of its own: what it chooses, and what it says of the choice. */
import { expect, it } from 'vitest'
import { glossa } from './glossa.ts'

it('chooses the provider that a short measurement finds fastest, and says why', async () => {
  const words = ['-m', 'models/starter', '-p', 'Once', '-n', '2', '--temp', '0']
  const auto = await glossa('generate', ...words, '--device', 'auto')
  expect(auto.code).toBe(0)
  const [, chosen, figures] = /^device (\w+): a product of 64x1024x1024 takes ([^;\n]+)/m.exec(auto.stderr)!
  const times = [...figures!.matchAll(/(\w+) ([\d.]+) ms/g)].map(([, name, ms]) => ({ name, ms: Number(ms) }))
  expect(times.map(({ name }) => name)).toContain('cpu')
  expect(times.find(({ name }) => name === chosen)!.ms).toBe(Math.min(...times.map(({ ms }) => ms)))
  expect(auto.stdout).toBe((await glossa('generate', ...words)).stdout)
})

it('names the providers that there are for one that is not', async () => {
  const { code, stderr } = await glossa('generate', '-m', 'models/starter', '-p', 'x', '--device', 'abacus')
  expect(code).not.toBe(0)
  expect(stderr).toContain("'abacus' is not part of this build")
})
