/** Language models of counts over token ids: n-grams with Kneser-Ney smoothing. */
export { countNgrams, type Level } from './counts.ts'
export { loadKneserNey, saveKneserNey } from './file.ts'
export { type Discounts, KneserNey, type KneserNeyOptions, trainKneserNey } from './kneserNey.ts'
export { documentsOf, type HeldOut, heldOut, type TokenModel, type TokenRow } from './languageModel.ts'
