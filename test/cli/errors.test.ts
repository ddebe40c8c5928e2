import { describe, expect, it } from 'vitest'
import { glossa, llamaTiny, storiesBin } from './glossa.ts'

const tokens = ['--tokens', '3,17,42']
const [bert, t5] = ['bert', 't5'].map((name) => `test/fixtures/families/${name}`) as [string, string]

/** Arguments, exit code, and what the only line on stderr says. */
const cases: [args: string[], code: number, message: string | RegExp][] = [
  [['generate', '-m', 'nowhere', '-p', 'x'], 1, 'nowhere: there is no such file or folder'],
  [['generate', '-p', 'x'], 2, '--model is missing'],
  [['generate', '-m', 'package.json', ...tokens], 1, /^package\.json: .*is not a checkpoint.*safetensors/],
  [['generate', '-m', llamaTiny], 2, 'there is nothing to read: give -p or --tokens'],
  [['generate', '-m', llamaTiny, '-p', 'x', ...tokens], 2, /^-p and --tokens exclude each other/],
  [
    ['generate', '-m', llamaTiny, '-p', 'Once'],
    1,
    /has no tokenizer: give token ids, for example --tokens 3,17,42$/,
  ],
  [['generate', '-m', llamaTiny, '--tokens', ''], 2, /^--tokens '': a number is missing$/],
  [['generate', '-m', llamaTiny, '--tokens', '3,x'], 2, /'x' is not a number$/],
  [['generate', '-m', llamaTiny, '--tokens', '3,101'], 1, 'token 101 is outside the vocabulary of 101'],
  [['generate', '-m', llamaTiny, '--tokens', '3,-1'], 2, /^--tokens .*must be at least 0$/],
  [['generate', '-m', llamaTiny, '--tokens', '1,2,3,4,5', '--context', '4'], 1, /5 positions.* 4 /],
  [
    ['generate', '-m', llamaTiny, ...tokens, '--weights', 'int5'],
    2,
    '--weights int5: must be f32, int8, int4 or stored',
  ],
  [['generate', '-m', llamaTiny, ...tokens, '--weights', 'stored'], 1, /has no matrices in Q4_0 or Q8_0/],
  [['generate', '-m', llamaTiny, ...tokens, '-n', '0'], 2, '--max-tokens 0: must be above 0'],
  [['generate', '-m', llamaTiny, ...tokens, '-n', '1.5'], 2, '--max-tokens 1.5: must be a whole number'],
  [['generate', '-m', llamaTiny, ...tokens, '-n', 'many'], 2, /'many' is not a number$/],
  [['generate', '-m', llamaTiny, ...tokens, '--top-p', '2'], 2, '--top-p 2: must be at most 1'],
  [['generate', '-m', llamaTiny, ...tokens, '--temp', '-1'], 2, '--temp -1: must be at least 0'],
  [['generate', '-m', llamaTiny, ...tokens, '--stop', 'x'], 1, /stop texts need a tokenizer/],
  [['generate', '-m', llamaTiny, ...tokens, '--stop', ''], 2, "--stop '': must not be empty"],
  [
    ['generate', '-m', llamaTiny, ...tokens, '--tmep', '1'],
    2,
    "unknown option '--tmep'; did you mean --temp?",
  ],
  [['generate', '-m', llamaTiny, ...tokens, '--device', 'abacus'], 1, /execution provider 'abacus'.*cpu/],
  [['generate', '-m', llamaTiny, '-p', 'Once', 'upon'], 2, /needs quotes/],
  [['genrate'], 2, "unknown command 'genrate'; did you mean generate?"],
  [['score', '-m', llamaTiny], 2, /give --text-file, -p, --tokens or --documents$/],
  [['score', '-m', llamaTiny, '--text-file', 'nowhere.txt'], 1, 'nowhere.txt: there is no such file'],
  [['score', '-m', llamaTiny, '--tokens', '500'], 1, 'token 500 is outside the vocabulary of 101'],
  [['inspect', '-m', llamaTiny, '--tap', 'logits'], 2, 'there is nothing to read: give -p or --tokens'],
  [
    ['inspect', '-m', llamaTiny, ...tokens, '--tap', 'blocks.0.resid_post'],
    1,
    /no site.*did you mean.*resid_post'/,
  ],
  [
    ['inspect', '-m', llamaTiny, ...tokens, '--tap', 'blocks.7.hook_resid_pre'],
    1,
    /the model has layers 0 to 2$/,
  ],
  [
    ['convert', '-m', llamaTiny, '-o', 'folder', '--type', 'f16'],
    2,
    '--type is for GGUF files: the output must end in .gguf',
  ],
  [
    ['convert', '-m', llamaTiny, '-o', 'folder'],
    1,
    /^test\/fixtures\/llama-tiny: only a GGUF file becomes a folder/,
  ],
  [['convert', '-m', llamaTiny, '-o', '/nowhere/x.gguf'], 1, /\/nowhere.*no such file or folder$/],
  [['generate', '-m', bert, ...tokens], 1, /'bert' is an encoder: it predicts no next token.*glossa inspect/],
  [['score', '-m', bert, ...tokens], 1, /'bert' is an encoder: it predicts no next token/],
  [['score', '-m', t5, ...tokens], 1, /'t5' is an encoder-decoder.*glossa generate or glossa inspect/],
  [
    ['inspect', '-m', bert, ...tokens, '--tap', 'logits', '--weights', 'int8'],
    2,
    /--weights int8 is for decoders/,
  ],
  [['inspect', '-m', bert, ...tokens, '--tap', 'logits', '--context', '9'], 2, /--context is for decoders/],
  [
    ['inspect', '-m', bert, ...tokens, '--tap', 'logits', '--target-tokens', '3'],
    2,
    /^--target-tokens is for enc/,
  ],
  [
    ['inspect', '-m', t5, ...tokens, '--tap', 'logits', '--target', 'x'],
    1,
    /no tokenizer: give --target-tokens/,
  ],
  [['inspect', '-m', t5, ...tokens, '--tap', 'blocks.0.hook_resid_pre'], 1, /no site.*encoder\.blocks\.0/],
  [['generate', '-m', t5, ...tokens, '--beams', '2', '--temp', '0'], 1, /beams needs a decoder/],
  [['generate', '-m', t5, ...tokens, '--prompt-logprobs'], 1, /promptLogprobs needs a decoder/],
  [['generate', '-m', t5, '--tokens', '3,64'], 1, 'token 64 is outside the vocabulary of 64'],
  [
    ['export', '-m', llamaTiny, '-o', 'model.bin'],
    2,
    '--output model.bin: must end in .onnx; a folder needs --layout transformers.js',
  ],
  [['export', '-m', llamaTiny, '-o', '/nowhere/model.onnx'], 1, /\/nowhere.*no such file or folder$/],
]

describe('errors are one line with the way out', () => {
  it.each(cases)('glossa %j', async (args, code, message) => {
    const result = await glossa(...args)
    expect(result.stdout).toBe('')
    expect(result.stderr).toMatch(/^glossa: [^\n]+\n$/)
    const text = result.stderr.slice('glossa: '.length, -1)
    if (typeof message === 'string') expect(text).toBe(message)
    else expect(text).toMatch(message)
    expect(result.code).toBe(code)
  })

  it('a stack is shown on demand', async () => {
    const { stderr } = await glossa('generate', '-m', 'nowhere', '-p', 'x', '--debug')
    expect(stderr).toMatch(/^glossa: Error: nowhere.*\n {4}at /)
  })

  it.skipIf(!storiesBin)('an empty prompt begins with the begin token', async () => {
    const { stdout, code } = await glossa('generate', '-m', storiesBin!, '-p', '', '--temp', '0', '-n', '3')
    expect({ stdout, code }).toEqual({ stdout: 'Once upon a\n', code: 0 })
  })

  it('help and version are no errors', async () => {
    const help = await glossa('generate', '--help')
    expect(help).toMatchObject({ code: 0, stderr: '' })
    for (const flag of [
      '-m, --model',
      '-p, --prompt',
      '-n, --max-tokens',
      '--temp',
      '--weights',
      '--seed',
      '--json',
    ])
      expect(help.stdout).toContain(flag)
    expect((await glossa('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect((await glossa()).stdout).toContain('generate')
  })
})
