/**
 * Makes a fresh clone ready: installs the locked packages where they are missing or are not those of
 * package-lock.json, and does nothing otherwise. Runs before anything is installed, on plain Node.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const fail = (message) => {
  console.error(`glossa: ${message}`)
  process.exit(1)
}

const needed = 20
if (Number(process.versions.node.split('.')[0]) < needed)
  fail(`Node ${needed} or later is needed, this is ${process.versions.node}: see https://nodejs.org`)

/** What npm notes about an installation, beside what it was asked to install. */
const lock = join(root, 'package-lock.json')
const installed = join(root, 'node_modules', '.package-lock.json')

/** Why an installation is due, or undefined. */
function due() {
  if (!existsSync(installed)) return 'the packages are not installed yet'
  if (statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return undefined
  // A newer file need not be another one: a clone or a copy has new times. What counts is what it says.
  const [wanted, present] = [lock, installed].map((path) => JSON.parse(readFileSync(path, 'utf8')).packages)
  const same = Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const found = present[path]
    // Packages for other systems are left out.
    return found ? found.version === entry.version && found.integrity === entry.integrity : entry.optional
  })
  return same ? undefined : 'package-lock.json has changed'
}

/** Runs npm, and gives what it had to say if it failed. */
function npm(...args) {
  // Under npm its own path is known; otherwise it is looked for, on Windows by the shell.
  const script = process.env.npm_execpath
  const byPath = script !== undefined && /npm-cli\.[cm]?js$/.test(script)
  const options = { cwd: root, stdio: ['ignore', 2, 'pipe'], encoding: 'utf8' }
  const { status, stderr, error } = byPath
    ? spawnSync(process.execPath, [script, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' })
  return status === 0 ? undefined : `npm ${args[0]}: ${error?.message ?? stderr}`
}

const reason = due()
if (reason) {
  const flags = ['--include=dev', '--no-audit', '--no-fund']
  console.error(`glossa: ${reason}: npm ci (this takes a minute)`)
  const refused = npm('ci', ...flags)
  if (refused) {
    // A registry that lacks packages for other systems is enough for npm ci to refuse the lock file.
    console.error('glossa: npm ci failed here, trying npm install')
    const failed = npm('install', '--no-save', ...flags)
    if (failed)
      fail(
        `the packages could not be installed. Can npm reach its registry (npm ping)?\n${refused}\n${failed}`,
      )
  }
}
