/** One pass of a decoding step over a sequence of tokens. It passes on what is settled, as soon as it is. */
export interface DecoderRun {
  push(token: string, emit: (token: string) => void): void
  /** The end of the sequence. */
  flush(emit: (token: string) => void): void
}

/** A step on the way from tokens to text. */
export interface Decoder {
  start(): DecoderRun
  /** A pass over the parts of a single token, where an earlier step has joined all; else it waits for the whole. */
  startJoined?(): DecoderRun
  /** Whether what it passes on is one token, in parts. */
  readonly joins?: boolean
  /** What a token becomes in the middle of a text: bytes if this step decides them, else the next step's token. */
  middle(token: string, joined: boolean): string | Uint8Array
  /** The token that this step reads as this text: for added tokens, which are not spelled its way. */
  literal?(text: string): string
}

/** The way from tokens to text in steps. Decoding at once and streaming are the same code. */
export class DecoderChain {
  private readonly steps: readonly Decoder[]

  constructor(steps: readonly Decoder[]) {
    this.steps = steps
  }

  /** Begins a sequence. `push` gives the text that a token settles, `flush` the rest. */
  start(): { push(token: string): string; flush(): string } {
    let text = ''
    let joined = false
    const runs = this.steps.map((step) => {
      const run = joined ? (step.startJoined?.() ?? whole(step.start())) : step.start()
      joined ||= step.joins ?? false
      return run
    })
    const inputs: ((token: string) => void)[] = []
    inputs[runs.length] = (token) => {
      text += token
    }
    for (let i = runs.length - 1; i >= 0; i--) inputs[i] = (token) => runs[i]!.push(token, inputs[i + 1]!)
    const take = () => {
      const taken = text
      text = ''
      return taken
    }
    return {
      push(token) {
        inputs[0]!(token)
        return take()
      },
      flush() {
        for (const [i, run] of runs.entries()) run.flush(inputs[i + 1]!)
        return take()
      },
    }
  }

  /** The bytes of the text that a token adds in the middle of a sequence. */
  bytes(token: string): Uint8Array {
    let current: string = token
    let joined = false
    for (const step of this.steps) {
      const next = step.middle(current, joined)
      if (typeof next !== 'string') return next
      current = next
      joined ||= step.joins ?? false
    }
    return new TextEncoder().encode(current)
  }

  /** The token that is decoded to this text. */
  literal(text: string): string {
    return this.steps[0]?.literal?.(text) ?? text
  }
}

/** A step that sees one token at a time and where it stands: first or not. */
export function eachToken(decode: (token: string, first: boolean) => string): Decoder {
  return {
    start() {
      let first = true
      return {
        push(token, emit) {
          emit(decode(token, first))
          first = false
        },
        flush() {},
      }
    },
    middle: (token) => decode(token, false),
  }
}

/** Lets a step see all parts of a single token at once. */
function whole(run: DecoderRun): DecoderRun {
  let text = ''
  return {
    push(part) {
      text += part
    },
    flush(emit) {
      if (text !== '') run.push(text, emit)
      run.flush(emit)
    },
  }
}
