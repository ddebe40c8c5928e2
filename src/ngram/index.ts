/** Language models of counts over token ids: n-grams with Kneser-Ney smoothing, sparse non-negative matrices; and transformers that are n-grams. */
export { countNgrams, type Level } from './counts.ts'
export type { SkipGram } from './features.ts'
export { loadKneserNey, loadSnm, saveKneserNey, saveSnm } from './file.ts'
export { type Discounts, KneserNey, type KneserNeyOptions, trainKneserNey } from './kneserNey.ts'
export { documentsOf, type HeldOut, heldOut, type TokenModel, type TokenRow } from './languageModel.ts'
export { NaiveBayes, type NaiveBayesOptions, wordsOf } from './naiveBayes.ts'
export {
  type Attention,
  compileNgrams,
  type NgramTable,
  type NgramTransformer,
  nextSymbols,
} from './ngramTransformer.ts'
export { defaultSkipGrams, type SnmOptions, SparseMatrixModel, trainSnm } from './snm.ts'
