/** Takes the place of `loadEncoder.ts` in a browser (`browser` in package.json), which has no files to open by path. */
import type { LoadedEncoder, LoadedSeq2Seq } from './loadEncoder.ts'

export function loadEncoder(path: string): LoadedEncoder {
  throw new Error(`${path}: a browser has no files by path; fetch them and give them to loadEncoderFiles`)
}

export function loadSeq2Seq(path: string): LoadedSeq2Seq {
  throw new Error(`${path}: a browser has no files by path; fetch them and give them to loadSeq2SeqFiles`)
}
