/** Models and data sets of the Hugging Face hub, in the cache that glossa shares with `huggingface_hub`. */
export { type Cached, findCached } from './cached.ts'
export {
  type DatasetReference,
  findCachedDataset,
  type LocatedDataset,
  locateDataset,
  pullDataset,
} from './dataset.ts'
export { HubError } from './errors.ts'
export { type Pulled, type PullOptions, pull } from './pull.ts'
export { isRevision, type ModelReference, parseReference, referenceText } from './reference.ts'
export { type HubSettings, hubSettings } from './settings.ts'
export type { TransferOptions } from './transfer.ts'
