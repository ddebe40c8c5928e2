/** Chromium, where it is installed, with a page that has the library and can fetch the repository's models. */
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium, type Page } from 'playwright-core'

export const executable = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path))
const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')

/** Where pages get their models from, below the repository's root. */
const folders = ['models/starter', 'test/fixtures/families']

export interface OpenBrowser extends AsyncDisposable {
  /** A page of its own: a page has one ONNX Runtime, with one number of threads. */
  newPage(): Promise<Page>
}

/** What makes Chromium offer WebGPU on SwiftShader, a GPU in software. */
export const softwareWebGpu = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
]

export async function openBrowser(): Promise<OpenBrowser> {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'page.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    conditions: ['onnxruntime-web-use-extern-wasm'],
    // What `using` needs is newer than some browsers.
    target: 'es2022',
  })
  const ort = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'))
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').slice(1)
    const name = basename(path)
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
    const send = (type: string, body: string | Uint8Array) =>
      response.setHeader('Content-Type', type).end(body)
    const file = join(root, path)
    if (path === '') send('text/html', '<!doctype html><script type="module" src="/page.js"></script>')
    else if (path === 'page.js') send('text/javascript', outputFiles[0]!.contents)
    else if (path.startsWith('ort/'))
      send(name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript', readFileSync(join(ort, name)))
    else if (folders.some((folder) => file.startsWith(join(root, folder))) && existsSync(file))
      send('application/octet-stream', readFileSync(file))
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const browser = await chromium.launch({
    executablePath: executable!,
    args: ['--no-sandbox', ...softwareWebGpu],
  })
  return {
    async newPage() {
      const page = await browser.newPage()
      await page.goto(url)
      await page.waitForFunction('globalThis.run !== undefined')
      return page
    },
    async [Symbol.asyncDispose]() {
      await browser.close()
      server.close()
    },
  }
}
