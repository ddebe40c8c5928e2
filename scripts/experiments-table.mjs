/**
 * Writes the table of claims and measurements in docs/experiments.md, from results/*.json. `--check` writes nothing and fails
 * where the table is not what the results are.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const document = join(root, 'docs', 'experiments.md')
const [begin, end] = [
  '<!-- The table is written by scripts/experiments-table.mjs. -->',
  '<!-- End of the table. -->',
]

const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ')
const results = readdirSync(join(root, 'results'))
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(join(root, 'results', name), 'utf8')))
  .sort((a, b) => a.paper - b.paper || (a.id < b.id ? -1 : 1))
const now = createHash('sha256')
  .update(readFileSync(join(root, 'models', 'default', 'model.safetensors')))
  .digest('hex')
  .slice(0, 12)
/** Results keep their numbers when the bundled model is trained further; the table says of which weights they are. */
const measured = ({ reason, weights }) =>
  weights && !weights.includes(now)
    ? `${reason} (Measured on earlier weights of the model: ${weights}.)`
    : reason
const rows = results.map((result) => {
  const { paper, id, claim, verdict, seeds, seconds } = result
  return [
    paper,
    `[\`${id}\`](../results/${id}.svg)`,
    claim,
    measured(result),
    verdict,
    seeds.length,
    seconds,
  ].map(cell)
})
const heading = ['paper', 'experiment', 'claim', 'measured here', 'verdict', 'seeds', 'seconds']
const table = [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')

const before = readFileSync(document, 'utf8')
const [from, to] = [before.indexOf(begin), before.indexOf(end)]
if (from < 0 || to < from)
  throw new Error(`docs/experiments.md has to have the lines '${begin}' and '${end}'`)
const after = `${before.slice(0, from)}${begin}\n\n${table}\n\n${before.slice(to)}`
if (after !== before) {
  if (process.argv.includes('--check')) {
    console.error(
      'The table of docs/experiments.md is not what results/ holds: run node scripts/experiments-table.mjs',
    )
    process.exit(1)
  }
  writeFileSync(document, after)
}
