/** A process that opens a model, runs it once and says what that cost. Memory is only honest in a fresh one. */
import { readFileSync } from 'node:fs'
import { Model, seal } from '../../model/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { Stepper } from './decode.ts'

export interface OpenCost {
  /** From nothing to a model whose program is compiled, without the start of Node and the libraries. */
  readonly openMs: number
  readonly openResidentBytes: number
  readonly firstTokenMs: number
  /** Resident memory after a prompt of 128 tokens and a few steps, and that of the process before opening. */
  readonly residentBytes: number
  readonly baseBytes: number
}

/** From /proc: `process.memoryUsage` lags behind on Linux. */
function resident(): number {
  try {
    const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
    if (line) return Number(line[1]) * 1024
  } catch {
    // Not Linux.
  }
  return process.memoryUsage().rss
}

const engine = new Engine(nodeRuntime())
const baseBytes = resident()
const start = performance.now()
const model = seal(Model.open(process.argv[2]!, engine))
await model.prepare()
const openMs = performance.now() - start
const openResidentBytes = resident()
const stepper = new Stepper(model, 256)
const firstTokenMs = await stepper.prefill(8, 1)
await stepper.prefill(128, 1)
await stepper.decode(8, 16)
const cost: OpenCost = { openMs, openResidentBytes, firstTokenMs, residentBytes: resident(), baseBytes }
process.stdout.write(`${JSON.stringify(cost)}\n`)
