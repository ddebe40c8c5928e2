/** A GPU for tests: where there is none, SwiftShader, which Chromium brings. */
import { existsSync } from 'node:fs'
import { tensor } from '../src/array/index.ts'
import { Engine, nodeRuntime } from '../src/onnx/index.ts'

const software = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (existsSync(software)) process.env.VK_ICD_FILENAMES ??= software

/** An engine on it, or undefined where no adapter is found. */
export async function openGpu(): Promise<Engine | undefined> {
  try {
    const engine = new Engine(nodeRuntime({ provider: 'webgpu' }))
    await engine.compute(tensor([1, 2]).add(1))
    return engine
  } catch {
    return undefined
  }
}
