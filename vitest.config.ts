import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // Two cores: files run one after another in forks, so that native thread pools do not fight.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
  },
})
