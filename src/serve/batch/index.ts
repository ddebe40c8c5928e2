/** Many requests over one model, in one batch. */
export {
  type BatchContext,
  Batcher,
  type BatcherOptions,
  type BatcherStats,
  QueueFull,
} from './batcher.ts'
