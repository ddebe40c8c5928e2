/** Text models elsewhere: an OpenAI-compatible endpoint, and what methods ask of any text model. */
export { Endpoint, EndpointError, type EndpointOptions } from './endpoint.ts'
export { type RemoteOptions, remoteModel } from './remoteModel.ts'
export type { Completed, CompleteOptions, Message, Scored, TextModel, TextPrompt } from './textModel.ts'
