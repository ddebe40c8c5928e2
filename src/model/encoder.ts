/** An encoder on an engine: its sites are read, and edited, by name. */
import { type Jitted, type Tensor, tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { argumentsOf, type EditArguments, withArguments } from './edits.ts'
import { type EncoderInput, encodeForward, encoderSites } from './encoderForward.ts'
import type { EncoderParams, EncoderSpec } from './encoderSpec.ts'
import { loadEncoder } from './loadEncoder.ts'
import { Programs, type TokenRows, tokenRows } from './programs.ts'
import { type TapOptions, Taps } from './taps.ts'

export interface EncoderParts {
  readonly engine: Engine
  readonly spec: EncoderSpec
  readonly params: EncoderParams
  readonly tokenizer?: Tokenizer | undefined
  readonly path?: string
}

export interface EncoderOptions extends TapOptions {
  /** 1 for tokens, 0 for padding; all tokens by default. */
  readonly mask?: Tensor
  /** The segment of each token; 0 by default. */
  readonly segments?: Tensor
}

type EncoderProgram = Jitted<[EncoderParams, EditArguments, EncoderInput], Record<string, Tensor>>

export class Encoder {
  readonly engine: Engine
  readonly spec: EncoderSpec
  readonly params: EncoderParams
  readonly tokenizer: Tokenizer | undefined
  readonly path: string
  readonly #programs: Programs<{ encode: EncoderProgram }>

  constructor(parts: EncoderParts) {
    this.engine = parts.engine
    this.spec = parts.spec
    this.params = parts.params
    this.tokenizer = parts.tokenizer
    this.path = parts.path ?? 'encoder'
    this.#programs = new Programs(this.sites, (taps) => ({ encode: this.#compile(taps) }))
  }

  /** Opens a checkpoint in Hugging Face layout: BERT, RoBERTa, DistilBERT, ELECTRA and their kin. */
  static open(path: string, engine: Engine): Encoder {
    return new Encoder({ engine, ...loadEncoder(path) })
  }

  /** Every site that can be read or edited, with its shape legend. */
  get sites(): Map<string, string> {
    return encoderSites(this.spec, this.params)
  }

  /**
   * Runs rows of equal length and gives the sites in `read`, by default the last hidden state. Rows are padded
   * by the caller, with a mask.
   */
  async run(
    tokens: TokenRows,
    { mask, segments, read = ['last_hidden_state'], edit = {} }: EncoderOptions = {},
  ): Promise<Record<string, Tensor>> {
    const ids = this.rows(tokens)
    const shape = ids.sizes
    const filled = (value: number): Tensor => tensor(new Int32Array(shape[0]! * shape[1]!).fill(value), shape)
    const input = { tokens: ids, mask: mask ?? filled(1), segments: segments ?? filled(0) }
    return this.#programs.of({ read, edit }).encode(this.params, argumentsOf(edit), input)
  }

  #compile(options: TapOptions): EncoderProgram {
    const axes = ['batch', 'time']
    return this.engine.jit(
      (params: EncoderParams, args: EditArguments, input: EncoderInput) => {
        const taps = new Taps(this.sites, { ...options, edit: withArguments(options.edit, args) })
        encodeForward(this.spec, params, input, taps)
        return taps.finish()
      },
      { name: 'encode', axes: [undefined, undefined, { tokens: axes, mask: axes, segments: axes }] },
    )
  }

  /** Token rows as an i32 array; throws for rows of different lengths and ids outside the vocabulary. */
  rows(tokens: TokenRows): Tensor {
    const { vocab } = this.spec
    return tokenRows(tokens, {
      vocab,
      remedy: 'pad them and give a mask',
      checkLength: (length) => {
        if (length > this.context)
          throw new RangeError(`${length} tokens, but the model has ${this.context} positions`)
      },
    })
  }

  /** Most positions of a row. */
  get context(): number {
    return this.spec.positions - (this.spec.firstPosition ?? 0)
  }

  dispose(): void {
    this.#programs.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
