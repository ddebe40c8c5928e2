/** The studio as a folder of files: the engine and a model run inside the page. `npm run studio:static`. */
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defaultClientConditions, defineConfig, mergeConfig, type Plugin } from 'vite'
import pages from './vite.config.ts'

const root = fileURLToPath(new URL('.', import.meta.url))
const out = join(root, 'dist/studio-static')
const models = (process.env.STUDIO_MODELS ?? 'default,tiny').split(',')

/** Files that a browser has another one of, as package.json says for the package. */
const browserFiles: Plugin = {
  name: 'browser-files',
  enforce: 'pre',
  resolveId(source, importer) {
    const path = importer && source.startsWith('.') ? resolve(dirname(importer), source) : ''
    return /src\/model\/load(Encoder)?\.ts$/.test(path) ? path.replace(/\.ts$/, '.browser.ts') : undefined
  },
}

/** What the page fetches: models, ONNX Runtime, the methods with their results. */
const files: Plugin = {
  name: 'files',
  async closeBundle() {
    for (const name of models) {
      const to = join(out, 'models', name)
      mkdirSync(to, { recursive: true })
      for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
        cpSync(join(root, 'models', name, file), join(to, file))
    }
    // The SAEs are of the default model.
    const saes = models.includes('default')
      ? readdirSync(join(root, 'models/saes'), { withFileTypes: true }).filter((one) => one.isDirectory())
      : []
    for (const { name } of saes)
      for (const file of ['cfg.json', 'sae_weights.safetensors', 'explanations.json'])
        cpSync(join(root, 'models/saes', name, file), join(out, 'saes', name, file))
    writeFileSync(
      join(out, 'models/list.json'),
      JSON.stringify({ models, saes: saes.map(({ name }) => name) }),
    )
    const ort = join(root, 'node_modules/onnxruntime-web/dist')
    mkdirSync(join(out, 'ort'), { recursive: true })
    for (const file of readdirSync(ort))
      if (/^ort-wasm-simd-threaded(\.asyncify)?\.(mjs|wasm)$/.test(file))
        cpSync(join(ort, file), join(out, 'ort', file))
    const about = (await import(new URL('./dist/studio/operations/about.js', import.meta.url).href)) as {
      methods: { run(bench: object, input: object): Promise<unknown> }
    }
    writeFileSync(
      join(out, 'methods.json'),
      JSON.stringify(await about.methods.run({ results: join(root, 'results') }, {})),
    )
  },
}

export default mergeConfig(
  pages,
  defineConfig({
    mode: 'static',
    plugins: [browserFiles, files],
    resolve: { conditions: ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions] },
    build: { outDir: out, target: 'es2022' },
    worker: { format: 'es', plugins: () => [browserFiles] },
  }),
)
