/** The pages of the studio, built into the package. */
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

/** Fields begin with what the address and the server say, once; regions that scroll must be reached by keys. */
const meant = ['state_referenced_locally', 'a11y_no_noninteractive_tabindex']

export default defineConfig({
  root: 'studio',
  base: './',
  plugins: [svelte({ onwarn: (warning, warn) => meant.includes(warning.code) || warn?.(warning) })],
  build: { outDir: '../dist/studio-pages', emptyOutDir: true },
  logLevel: 'warn',
})
