/** `npm start`: a short story by the model that comes with glossa; `npm start -- VERB ...` is the command line. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const cli = join(root, 'dist', 'cli', 'main.js')
const own = join(root, 'models', 'default')
const show = (path) => relative(process.cwd(), path) || '.'

function run(args) {
  const { status, signal, error } = spawnSync(process.execPath, [cli, ...args], { stdio: 'inherit' })
  if (error) throw error
  return status ?? (signal === 'SIGINT' ? 130 : 1)
}

/** The first paragraph of the model card: what the model is. */
function about(folder) {
  const card = join(folder, 'MODEL_CARD.md')
  if (!existsSync(card)) return undefined
  const text = readFileSync(card, 'utf8').replace(/^---\n[\s\S]*?\n---\n/, '')
  const paragraph = text.split(/\n\s*\n/).find((part) => part.trim() && !/^\s*[#|<>-]/.test(part))
  return paragraph?.replace(/\s+/g, ' ').trim()
}

function story() {
  if (!existsSync(join(own, 'config.json'))) {
    console.error(
      `glossa: ${show(own)} is missing. Any other model works: npm start -- generate -m MODEL -p "Once upon a time"`,
    )
    return 1
  }
  console.error(`${about(own) ?? 'A small model that this repository has trained.'}\n`)
  const code = run([
    'generate',
    '-m',
    'default',
    '-p',
    'Once upon a time',
    '--temp',
    '0.8',
    '--seed',
    '1',
    '-n',
    '200',
  ])
  if (code !== 0) return code
  console.error(`
Next: npm start -- generate -m default -p "The little dog" --temp 0.8
      npm start -- score -m default -p "The little dog was happy."
      npm start -- inspect -m default -p "The little dog" --tap blocks.0.attn.hook_pattern
      npm start -- --help`)
  return 0
}

// Ctrl-C reaches the command line too, which ends by itself.
process.on('SIGINT', () => {})
const args = process.argv.slice(2)
process.exitCode = args.length > 0 ? run(args) : story()
