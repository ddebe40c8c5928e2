/** What operations answer. */
export interface About {
  models: { id: string }[]
  saes: string[]
  steers: { name: string; file: string }[]
}
export interface ModelAbout {
  layers: number
  width: number
  vocab: number
  context: number
  heads: number
  sites: { site: string; legend: string }[]
}
export interface TokenInfo {
  id: number
  text: string
  logprob: number | null
  entropy: number | null
  top: { text: string; logprob: number }[]
  /** What each method changed, in nats. */
  by?: { id: string; nats: number }[]
}
export interface MethodInfo {
  id: string
  title: string
  summary?: string
  paper?: number
  socket?: string
  source?: string
  claim?: string
  verdict?: string
  reason?: string
  rows?: { name: string; metric: string; mean: number; spread: number; n: number }[]
  options?: {
    properties?: Record<string, { type?: string; description?: string; default?: unknown; enum?: unknown[] }>
    required?: string[]
  }
}
export interface Measured {
  prompt: string
  text: string
  tokens: number
  speed: number
  perplexity: number
  repetition: number
}
