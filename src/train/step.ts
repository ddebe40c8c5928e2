/** One training step as one program: forward, backward and update. */
import { type Jitted, type Tensor, valueAndGrad } from '../array/index.ts'
import type { DecoderParams, DecoderSpec } from '../model/index.ts'
import { rotaryTables } from '../model/parts/position.ts'
import type { Engine } from '../onnx/index.ts'
import { nextTokenLoss } from './loss.ts'
import type { Optimizer } from './optimizer.ts'

export interface Trained<State> {
  readonly params: DecoderParams
  readonly state: State
  /** Before the update, an f32 scalar. */
  readonly loss: Tensor
}

export type TrainingStep<State> = Jitted<
  [params: DecoderParams, state: State, tokens: Tensor, rate: Tensor],
  Trained<State>
>

/**
 * The step for a decoder and an optimizer. Parameters and state that went in must not be used again: their
 * memory becomes that of the results. tokens i32 [batch, T]; both sizes may change from step to step.
 */
export function trainingStep<State>(
  engine: Engine,
  spec: DecoderSpec,
  optimizer: Optimizer<State>,
): TrainingStep<State> {
  const step: TrainingStep<State> = engine.jit(makeStep(spec, optimizer), {
    name: 'trainingStep',
    axes: [undefined, undefined, ['batch', 'time'], []],
    inPlace: { params: '0', state: '1' },
  })
  const checked = async (...args: Parameters<TrainingStep<State>>): Promise<Trained<State>> => {
    checkTokens(args[2], spec)
    return step(...args)
  }
  const dispose = (): void => step.dispose()
  return Object.defineProperties(checked as TrainingStep<State>, {
    compilations: { get: () => step.compilations },
    dispose: { value: dispose },
    [Symbol.dispose]: { value: dispose },
  })
}

/**
 * A row of one token has nothing to predict, and its mean loss would be no number. A negative id would count from
 * the end of the vocabulary: labels of -100, which elsewhere mean "do not train on this", would be trained on.
 */
function checkTokens(tokens: Tensor, { vocab }: DecoderSpec): void {
  const [batch, time] = tokens.sizes
  if (tokens.rank !== 2 || batch === 0 || time! < 2)
    throw new RangeError(`a training step takes rows of at least two tokens, [batch, T]; got ${tokens}`)
  for (const id of tokens.data)
    if (id < 0 || id >= vocab) throw new RangeError(`token ${id} is outside the vocabulary of ${vocab}`)
}

/** The step as a function to trace. */
export function makeStep<State>(spec: DecoderSpec, optimizer: Optimizer<State>) {
  const rotary = rotaryTables(spec)
  return (params: DecoderParams, state: State, tokens: Tensor, rate: Tensor): Trained<State> => {
    const [loss, grads] = valueAndGrad((p: DecoderParams) => nextTokenLoss(spec, p, tokens, rotary))(params)
    return { loss, ...optimizer.update(params, grads as DecoderParams, state, rate) }
  }
}
