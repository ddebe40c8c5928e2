/** `npm start`: the studio, on the models that come with glossa; `npm start -- VERB ...` is the command line. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const cli = join(root, 'dist', 'cli', 'main.js')

function run(args) {
  const { status, signal, error } = spawnSync(process.execPath, [cli, ...args], { stdio: 'inherit' })
  if (error) throw error
  return status ?? (signal === 'SIGINT' ? 130 : 1)
}

// Ctrl-C reaches the command line too, which ends by itself.
process.on('SIGINT', () => {})
const args = process.argv.slice(2)
process.exitCode = run(args.length > 0 ? args : ['studio'])
