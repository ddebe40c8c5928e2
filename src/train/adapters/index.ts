/** Adapters: trained parameters over frozen ones. Reading and writing them, which needs files, is in `peft.ts`. */
export { type Adapter, type AdapterBase, overFrozen, withStrength } from './adapter.ts'
export type { PeftConfig } from './config.ts'
export { type Ia3Options, ia3 } from './ia3.ts'
export { type LoraOptions, lora } from './lora.ts'
export {
  type Neurons,
  type NeuronWeights,
  neuronTrainable,
  randomNeurons,
  turnedNeurons,
} from './neft.ts'
export { type PromptOptions, prefixTuning, promptTuning } from './prompts.ts'
