/** An encoder-decoder on an engine: whole sequences with taps, and single steps of a target. */
import { type Jitted, type Tensor, tensor } from '../array/index.ts'
import type { Engine } from '../onnx/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { argumentsOf, type EditArguments, type Edits, editsBySite, withArguments } from './edits.ts'
import { loadSeq2Seq } from './loadEncoder.ts'
import { Programs, type TokenRows, tokenRows } from './programs.ts'
import {
  decodeTarget,
  encodeSource,
  type Seq2SeqInput,
  type Source,
  seq2seqForward,
  seq2seqSites,
  type TargetInput,
} from './seq2seqForward.ts'
import type { Seq2SeqParams, Seq2SeqSpec } from './seq2seqSpec.ts'
import { type TapOptions, Taps } from './taps.ts'

export interface Seq2SeqParts {
  readonly engine: Engine
  readonly spec: Seq2SeqSpec
  readonly params: Seq2SeqParams
  readonly tokenizer?: Tokenizer | undefined
  readonly path?: string
}

type Program<Input, Result> = Jitted<[Seq2SeqParams, EditArguments, Input], Result>
type Seq2SeqPrograms = {
  readonly forward: Program<Seq2SeqInput, Record<string, Tensor>>
  readonly encode: Program<Source, Tensor>
  readonly next: Program<TargetInput, Tensor>
}

export class Seq2Seq {
  readonly engine: Engine
  readonly spec: Seq2SeqSpec
  readonly params: Seq2SeqParams
  readonly tokenizer: Tokenizer | undefined
  readonly path: string
  readonly #programs: Programs<Seq2SeqPrograms>

  constructor(parts: Seq2SeqParts) {
    this.engine = parts.engine
    this.spec = parts.spec
    this.params = parts.params
    this.tokenizer = parts.tokenizer
    this.path = parts.path ?? 'model'
    this.#programs = new Programs(this.sites, (taps) => this.#make(taps))
  }

  /** Opens a T5 checkpoint in Hugging Face layout. */
  static open(path: string, engine: Engine): Seq2Seq {
    return new Seq2Seq({ engine, ...loadSeq2Seq(path) })
  }

  /** Tokens that end a target. */
  get ends(): readonly number[] {
    return this.spec.ends
  }

  /** Every site that can be read or edited, with its shape legend. */
  get sites(): Map<string, string> {
    return seq2seqSites(this.spec)
  }

  /** Runs whole sequences and gives the sites in `read`, by default the logits. Inputs: [batch, S], [batch, T]. */
  async run(
    tokens: TokenRows,
    targets: TokenRows,
    { mask, read = ['logits'], edit = {} }: TapOptions & { readonly mask?: Tensor } = {},
  ): Promise<Record<string, Tensor>> {
    const ids = this.rows(tokens)
    const input = { tokens: ids, targets: this.rows(targets), mask: mask ?? ones(ids) }
    return this.#programs.of({ read, edit }).forward(this.params, argumentsOf(edit), input)
  }

  /** What the encoder says of sources, [batch, S, width]: all that a target needs of them, beside their mask. */
  async encode(tokens: TokenRows, { mask, edit = {} }: SourceOptions = {}): Promise<Tensor> {
    const ids = this.rows(tokens)
    const source = { tokens: ids, mask: mask ?? ones(ids) }
    return this.#programs.of({ edit }).encode(this.params, argumentsOf(edit), source)
  }

  /**
   * Logits [batch, 1, vocab] of the token that follows each target. There is no cache: a step computes the decoder
   * over the whole target again.
   */
  async next(input: TargetInput, { edit = {} }: Pick<TapOptions, 'edit'> = {}): Promise<Tensor> {
    const target = { ...input, targets: this.rows(input.targets) }
    return this.#programs.of({ edit }).next(this.params, argumentsOf(edit), target)
  }

  /** Token rows as an i32 array; throws for rows of different lengths and ids outside the vocabulary. */
  rows(tokens: TokenRows): Tensor {
    const { vocab } = this.spec
    return tokenRows(tokens, { vocab, remedy: 'pad them and give a mask', checkLength: () => undefined })
  }

  #make(options: TapOptions): Seq2SeqPrograms {
    const edits = (args: EditArguments): Edits => withArguments(options.edit, args)
    /** The edits of one side alone. */
    const ofSide = (args: EditArguments, own: (site: string) => boolean): Taps =>
      new Taps(this.sites, {
        edit: Object.fromEntries(editsBySite(edits(args)).filter(([site]) => own(site))),
      })
    const ofEncoder = (site: string): boolean => site.startsWith('encoder.')
    const source = ['batch', 'source']
    const target = ['batch', 'time']
    const { engine, spec } = this
    return {
      forward: engine.jit(
        (params: Seq2SeqParams, args: EditArguments, input: Seq2SeqInput) => {
          const taps = new Taps(this.sites, { ...options, edit: edits(args) })
          seq2seqForward(spec, params, input, taps)
          return taps.finish()
        },
        { name: 'seq2seq', axes: [undefined, undefined, { tokens: source, mask: source, targets: target }] },
      ),
      encode: engine.jit(
        (params: Seq2SeqParams, args: EditArguments, input: Source) =>
          encodeSource(spec, params, input, ofSide(args, ofEncoder)),
        { name: 'encodeSource', axes: [undefined, undefined, { tokens: source, mask: source }] },
      ),
      next: engine.jit(
        (params: Seq2SeqParams, args: EditArguments, input: TargetInput) => {
          const taps = ofSide(args, (site) => !ofEncoder(site))
          return decodeTarget(spec, params, input, taps, true)
        },
        {
          name: 'nextTarget',
          axes: [undefined, undefined, { memory: [...source, null], mask: source, targets: target }],
        },
      ),
    }
  }

  dispose(): void {
    this.#programs.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

type SourceOptions = Pick<TapOptions, 'edit'> & { readonly mask?: Tensor }

const ones = ({ sizes }: Tensor): Tensor =>
  tensor(new Int32Array(sizes.reduce((a, b) => a * b, 1)).fill(1), sizes)
