/** Jinja templates with the names that Hugging Face transformers defines for them. */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'

/**
 * Renders a template. The package's own `Template.render` is not used for one reason: its globals cannot be
 * replaced, and its `strftime_now` knows half of Python's directives and writes months in the system's language.
 */
export function renderTemplate(
  source: string,
  variables: Readonly<Record<string, unknown>>,
  now = new Date(),
): string {
  const globals = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    raise_exception: (message: string) => {
      throw new Error(message)
    },
    strftime_now: (format: string) => strftime(now, format),
  }
  const environment = new Environment()
  try {
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value)
    const program = parse(tokenize(withoutMarks(source), { lstrip_blocks: true, trim_blocks: true }))
    return (bounded(environment).run(program) as { value: string }).value
  } catch (error) {
    throw new Error(`chat template: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * `{% generation %}` and its end mark what a model says, for training. The package takes them out, and then a `{{-`
 * behind them cuts white space before them as well; blocks without content do not let it.
 */
const withoutMarks = (source: string): string =>
  source.replace(/\{%(-?)\s*(?:end)?generation\s*(-?)%\}/g, '{%$1 if true %}{% endif $2%}')

/** Templates come with models, from anyone: one that would run for minutes is stopped. */
const mostSteps = 500_000
const longestRange = 100_000

/** An interpreter that counts what it evaluates. */
function bounded(environment: Environment): Interpreter {
  const interpreter = new Interpreter(environment)
  const evaluate = interpreter.evaluate.bind(interpreter)
  let steps = 0
  interpreter.evaluate = (...args: Parameters<typeof evaluate>) => {
    if (++steps > mostSteps) throw new Error(`it takes more than ${mostSteps} steps`)
    return evaluate(...args)
  }
  return interpreter
}

/** Python's `range`, as a list. */
function range(first: number, end?: number, step = 1): number[] {
  const [from, to] = end === undefined ? [0, first] : [first, end]
  if (step === 0) throw new Error('range: the step must not be zero')
  const length = Math.max(0, Math.ceil((to - from) / step))
  if (!(length <= longestRange)) throw new Error(`range: ${length} numbers are too many for a template`)
  return Array.from({ length }, (_, i) => from + i * step)
}

const months = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July'],
  ...['August', 'September', 'October', 'November', 'December'],
]
const weekdays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

/** Python's `strftime` in the C locale and local time. */
function strftime(date: Date, format: string): string {
  const pad = (value: number, width = 2): string => `${value}`.padStart(width, '0')
  const month = months[date.getMonth()]!
  const weekday = weekdays[date.getDay()]!
  const hour12 = date.getHours() % 12 || 12
  const newYear = Date.UTC(date.getFullYear(), 0, 0)
  const dayOfYear = (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - newYear) / 86_400_000
  const directives: Readonly<Record<string, string>> = {
    Y: pad(date.getFullYear(), 4),
    y: pad(date.getFullYear() % 100),
    m: pad(date.getMonth() + 1),
    '-m': `${date.getMonth() + 1}`,
    B: month,
    b: month.slice(0, 3),
    d: pad(date.getDate()),
    '-d': `${date.getDate()}`,
    e: `${date.getDate()}`.padStart(2),
    j: pad(dayOfYear, 3),
    A: weekday,
    a: weekday.slice(0, 3),
    w: `${date.getDay()}`,
    u: `${date.getDay() || 7}`,
    H: pad(date.getHours()),
    '-H': `${date.getHours()}`,
    I: pad(hour12),
    '-I': `${hour12}`,
    M: pad(date.getMinutes()),
    S: pad(date.getSeconds()),
    f: pad(date.getMilliseconds() * 1000, 6),
    p: date.getHours() < 12 ? 'AM' : 'PM',
    '%': '%',
  }
  const compound: Readonly<Record<string, string>> = {
    F: '%Y-%m-%d',
    T: '%H:%M:%S',
    D: '%m/%d/%y',
    R: '%H:%M',
  }
  return format.replace(/%(-?.)/gs, (directive, name: string) => {
    if (Object.hasOwn(compound, name)) return strftime(date, compound[name]!)
    if (!Object.hasOwn(directives, name)) throw new Error(`strftime_now: unknown directive ${directive}`)
    return directives[name]!
  })
}
