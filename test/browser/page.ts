/** The page of `browser.test.ts`: fetches the model and runs the scenario. */
import { Engine, hasWebGpu, loadFiles, webRuntime } from '../../src/web.ts'
import { files, type ScenarioOptions, scenario } from './scenario.ts'

const fetched = async (name: string): Promise<[string, Uint8Array]> => {
  const response = await fetch(`/model/${name}`)
  return [name, new Uint8Array(await response.arrayBuffer())]
}

Object.assign(globalThis, {
  hasWebGpu,
  async run(provider: 'wasm' | 'webgpu', threads: number, options: ScenarioOptions) {
    const parts = loadFiles(Object.fromEntries(await Promise.all(files.map(fetched))) as never)
    const runtime = await webRuntime({ provider, threads, assets: '/ort/' })
    await using engine = new Engine(runtime)
    return await scenario(engine, parts, options)
  },
})
