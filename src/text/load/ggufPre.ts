/** How a byte-level GGUF vocabulary splits text before merging: what `tokenizer.ggml.pre` stands for. */
export interface GgufPreTokenizer {
  /** Oniguruma expressions, applied one after the other; what they match and what is between stays together. */
  readonly split: readonly string[]
  /** llama.cpp's defaults for this name. */
  readonly ignoreMerges?: boolean
  readonly addBos?: boolean
}

const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

/** The expression of GPT-4 and its heirs, which differ in how many digits go together. */
const gpt4 = (digits: string) =>
  `${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`

/** Words split where lower case is followed by upper case; contractions optionally belong to their word. */
const cased = (suffix: string, digits: string) => {
  const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
  const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
  const before = '[^\\r\\n\\p{L}\\p{N}]?'
  return `${before}${upper}*${lower}+${suffix}|${before}${upper}+${lower}*${suffix}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`
}

const oneDigit: GgufPreTokenizer = { split: ['\\p{N}', gpt2] }
const gpt2Only: GgufPreTokenizer = { split: [gpt2] }
const qwen2: GgufPreTokenizer = { split: [gpt4('\\p{N}')] }
const llama3: GgufPreTokenizer = { split: [gpt4('\\p{N}{1,3}')], ignoreMerges: true, addBos: true }
const threeDigits: GgufPreTokenizer = { split: [gpt4('\\p{N}{1,3}')] }
const gpt4o: GgufPreTokenizer = { split: [cased(`${contraction}?`, '\\p{N}{1,3}')] }
const bloom: GgufPreTokenizer = { split: [' ?[^(\\s|.,!?…。，、।۔،)]+'] }

const deepseekWords =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|' +
  spaces
const deepseek3: GgufPreTokenizer = { split: ['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', deepseekWords] }

/**
 * Known names. The expressions are those of the models' own tokenizer.json files, which llama.cpp rewrites
 * for its regex engine: `(?i:'s)` there becomes `'[sS]`, losing `'ſ`.
 */
export const ggufPreTokenizers: Readonly<Record<string, GgufPreTokenizer>> = {
  'gpt-2': gpt2Only,
  'phi-2': gpt2Only,
  gigachat: gpt2Only,
  mellum: gpt2Only,
  'modern-bert': gpt2Only,
  mpt: gpt2Only,
  olmo: gpt2Only,
  jais: gpt2Only,
  trillion: gpt2Only,
  'granite-docling': gpt2Only,
  exaone4: gpt2Only,
  // llama.cpp's guess for files that do not say; such files are older than the key.
  default: {
    split: [
      '[\\p{P}\\$\\+<=>\\^~\\|]+',
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
      '\\p{N}+',
      '[0-9][0-9][0-9]',
    ],
  },
  falcon: {
    split: [
      '[\\p{P}\\$\\+<=>\\^~\\|`]+',
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
      '[0-9][0-9][0-9]',
    ],
  },
  starcoder: oneDigit,
  refact: oneDigit,
  'command-r': oneDigit,
  smollm: oneDigit,
  codeshell: oneDigit,
  exaone: oneDigit,
  'minerva-7b': oneDigit,
  llama3,
  'llama-v3': llama3,
  'llama-bpe': llama3,
  falcon3: llama3,
  'falcon-h1': llama3,
  pixtral: llama3,
  'midm-2.0': llama3,
  lfm2: llama3,
  dbrx: threeDigits,
  'smaug-bpe': threeDigits,
  glm4: threeDigits,
  'chatglm-bpe': threeDigits,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  stablelm2: qwen2,
  hunyuan: qwen2,
  megrez: qwen2,
  'grok-2': qwen2,
  qwen35: {
    split: [
      `${contraction}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${spaces}`,
    ],
  },
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  tekken: { split: [cased('', '\\p{N}')], ignoreMerges: true, addBos: true },
  'deepseek-v3': deepseek3,
  'hunyuan-dense': deepseek3,
  'deepseek-coder': { split: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'] },
  bloom,
  'gpt3-finnish': bloom,
  'poro-chat': bloom,
  viking: { split: [...bloom.split, '\\p{N}'] },
  'seed-coder': {
    split: [`${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${spaces}`],
  },
  superbpe: { split: ['\\p{N}+', '(?=(\\d{3})+(?!\\d))'] },
}
