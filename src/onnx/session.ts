/** Sessions of the C library, and how they are run. */
import type { Storage } from '../array/storage.ts'
import type { DeviceMemory } from './device.ts'
import { addressOf, api, type Pointer, texts } from './native.ts'
import type { Session, SessionModel, SessionSettings } from './runtime.ts'
import { inTurn, keeping, running, whenIdle } from './turns.ts'
import { type Value, viewOf } from './values.ts'

/** Opens a session. `asked` is the execution provider's name, if it is not the processor. */
export async function openSession(
  asked: string | undefined,
  { bytes, external }: Pick<SessionModel, 'bytes' | 'external'>,
  settings: SessionSettings,
): Promise<Pointer> {
  const native = api()
  const options = native.make('CreateSessionOptions')
  const wide = process.platform === 'win32'
  const kept: unknown[] = [external]
  try {
    const allOptimizations = 99
    const errorsOnly = 4
    native.call('SetSessionGraphOptimizationLevel', options, allOptimizations)
    native.call('SetIntraOpNumThreads', options, settings.threads)
    native.call('SetInterOpNumThreads', options, 1)
    // Errors are thrown; they need not be printed as well.
    native.call('SetSessionLogSeverityLevel', options, errorsOnly)
    // Weights that are mapped are wanted small: the arena would keep what one long prompt has needed.
    if (!settings.prepack) native.call('DisableCpuMemArena', options)
    if (settings.profile) native.call('EnableProfiling', options, settings.profile)
    const entries = {
      'session.intra_op.allow_spinning': settings.spin > 0 ? '1' : '0',
      ...(settings.spin > 0 && { 'session.intra_op.spin_duration_us': `${settings.spin}` }),
      'session.disable_prepacking': settings.prepack ? '0' : '1',
      ...(settings.folder && { 'session.model_external_initializers_file_folder_path': settings.folder }),
    }
    for (const [key, value] of Object.entries(entries))
      native.call('AddSessionConfigEntry', options, key, value)
    if (asked) native.call('SessionOptionsAppendExecutionProvider', options, asked, null, null, 0)
    if (external.length > 0) {
      const names = texts(
        external.map(({ path }) => path),
        wide,
      )
      const addresses = BigUint64Array.from(external, ({ data }) => addressOf(data))
      const lengths = BigUint64Array.from(external, ({ data }) => BigInt(data.byteLength))
      kept.push(names, addresses, lengths)
      native.call(
        'AddExternalInitializersFromFilesInMemory',
        options,
        names.addresses,
        addresses,
        lengths,
        external.length,
      )
    }
    const made: [Pointer | null] = [null]
    await keeping(
      kept,
      native.callAside('CreateSessionFromArray', native.env, bytes, bytes.byteLength, options, made),
    )
    return made[0]!
  } finally {
    native.call('ReleaseSessionOptions', options)
  }
}

export class NodeSession implements Session {
  readonly #session: Pointer
  readonly #inputs: ReturnType<typeof texts>
  readonly #outputs: ReturnType<typeof texts>
  readonly #small: boolean
  /** Where large values are, if that is not the host's memory. */
  readonly #memory: DeviceMemory | undefined
  #released = false

  constructor(
    session: Pointer,
    model: Pick<SessionModel, 'inputs' | 'outputs'>,
    small: boolean,
    memory?: DeviceMemory,
  ) {
    this.#session = session
    this.#memory = memory
    this.#inputs = texts(model.inputs)
    this.#outputs = texts(model.outputs)
    this.#small = small
  }

  run(inputs: readonly Storage[], outputs: readonly Storage[]): Promise<void> {
    if (this.#released) throw new Error('this session has been disposed of')
    const memory = this.#memory
    if (memory) {
      const [fed, written]: [Value[], Value[]] = [[], []]
      return inTurn(async () => {
        for (const storage of inputs) fed.push(await memory.input(storage))
        written.push(...outputs.map((storage) => memory.output(storage)))
        await api().callAside('Run', ...this.#arguments(fed, written))
      }, [inputs, outputs, fed, written])
    }
    const [fed, written] = [inputs.map(viewOf), outputs.map(viewOf)]
    const args = this.#arguments(fed, written)
    if (this.#small && !running()) {
      api().call('Run', ...args)
      return Promise.resolve()
    }
    return inTurn(() => api().callAside('Run', ...args), [inputs, outputs, fed, written])
  }

  #arguments(fed: readonly Value[], written: readonly Value[]): unknown[] {
    return [
      this.#session,
      null,
      this.#inputs.addresses,
      BigUint64Array.from(fed, ({ value }) => value),
      fed.length,
      this.#outputs.addresses,
      written.length,
      BigUint64Array.from(written, ({ value }) => value),
    ]
  }

  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await new Promise<void>((resolve) => {
      whenIdle(() => {
        api().call('ReleaseSession', this.#session)
        resolve()
      })
    })
  }

  endProfiling(): void {
    const native = api()
    const allocator = native.make('GetAllocatorWithDefaultOptions')
    native.call('AllocatorFree', allocator, native.make('SessionEndProfiling', this.#session, allocator))
  }
}
