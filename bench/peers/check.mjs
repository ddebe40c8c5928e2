#!/usr/bin/env node
// Are the peers right? The training peers, with one thread and with two, and PyTorch where there is one, must follow
// the same losses from the same weights; llama.cpp must answer the same prompt alike, in one batch or several.
// A minute at most.
//
//   node check.mjs [--python /usr/bin/python3]

import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { flags, reply } from './protocol.mjs'

const STEPS = 4
const TOLERANCE = 2e-5
const SIZES = { layers: 2, width: 64, heads: 4, vocab: 256, context: 32, batch: 2 }
const options = flags({ python: '/usr/bin/python3' })
const here = path.dirname(fileURLToPath(import.meta.url))
const sizes = Object.entries(SIZES).flatMap(([name, value]) => [`--${name}`, `${value}`])

/** Starts a peer, sends the commands one after another and returns the replies. */
async function ask(script, args, commands) {
  const child = spawn(process.execPath, [script, ...args], { cwd: here, stdio: ['pipe', 'pipe', 'ignore'] })
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const replies = []
  try {
    for (const command of commands) {
      child.stdin.write(`${JSON.stringify(command)}\n`)
      const { value } = await lines.next()
      replies.push(JSON.parse(value ?? '{"error":"ended without an answer"}'))
      if (replies.at(-1).error) throw new Error(`${script}: ${replies.at(-1).error}`)
    }
  } finally {
    child.kill()
  }
  return replies
}

async function losses() {
  const found = {}
  for (const script of ['tfjs-train.mjs', 'jax-train.mjs']) {
    for (const threads of ['1', '2']) {
      const command = { cmd: 'step', repeat: STEPS }
      const [answer] = await ask(script, [...sizes, '--threads', threads], [command])
      found[`${script} --threads ${threads}`] = answer.loss
    }
  }
  try {
    const args = ['-B', path.join(here, 'torch_losses.py'), ...sizes, '--steps', `${STEPS}`]
    const stdio = ['ignore', 'pipe', 'ignore']
    found.torch = JSON.parse(execFileSync(options.python, args, { encoding: 'utf8', stdio })).loss
  } catch {
    console.error('no PyTorch: the training peers are checked against each other only')
  }
  const expected = Object.values(found).at(-1)
  const difference = (loss) => Math.max(...loss.map((value, i) => Math.abs(value - expected[i])))
  const largest = Math.max(...Object.values(found).map(difference))
  const start = Math.abs(expected[0] - Math.log(SIZES.vocab))
  const falling = expected.every((value, i) => i === 0 || value < expected[i - 1])
  return { ok: largest < TOLERANCE && start < 0.1 && falling, largest, losses: found }
}

async function tokens() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peers-'))
  try {
    const model = path.join(folder, 'tiny.gguf')
    execFileSync(process.execPath, [path.join(here, 'random-gguf.mjs'), '--out', model, '--shape', 'tiny'])
    const prompt = Array.from({ length: 20 }, (_, i) => 259 + ((i * 31) % 250))
    const command = { cmd: 'greedy', tokens: prompt, n: 12 }
    const start = (context) => ['--model', model, '--context', context]
    const [whole, again] = await ask('llama.mjs', start('64'), [command, command])
    const [chunks] = await ask('llama.mjs', [...start('64'), '--batch', '8'], [command])
    const same = new Set([whole, again, chunks].map((answer) => answer.tokens.join()))
    return { ok: same.size === 1 && whole.tokens.length > 1, tokens: whole.tokens }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

const result = { training: await losses(), llama: await tokens() }
reply(result)
process.exit(result.training.ok && result.llama.ok ? 0 : 1)
