/** Evaluation, feature extraction and data generation in many small jobs, here or over workers on any machine. */
export { type Outcome, type Plan, parsePlan, planSchema, type Unit } from './plan.ts'
export { type RedisOptions, type RedisWorker, redisWorker } from './redis.ts'
export { type RunEnd, type RunOptions, runJobs } from './run.ts'
export { doUnit, Resources, type WorkerSettings } from './unit.ts'
