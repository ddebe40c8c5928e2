/**
 * Checks that imports in src/ point one way: from each layer only to itself and to those before it, without
 * cycles between files, to onnxruntime from onnx/ alone, and to nothing of Node's from what a browser gets. Prints
 * what breaks this as file:line.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** From the lowest up. Folders of one layer do not import each other; files in src/ itself are above all. */
const layers = [
  ['method', 'plot'],
  ['array'],
  ['onnx'],
  ['text', 'store', 'remote'],
  ['model'],
  ['decode', 'train', 'ngram'],
  ['interp'],
  ['steer', 'compress', 'memory', 'embed', 'data', 'eval'],
  ['agent', 'modal'],
  ['experiments', 'registry'],
  ['serve'],
  ['jobs'],
  ['ai-sdk', 'studio'],
  ['cli'],
]
/** Packages that one folder alone may import. */
const owned = [{ package: /^onnxruntime-/, folder: 'onnx' }]

const root = fileURLToPath(new URL('..', import.meta.url))
const src = process.argv[2] ? resolve(process.argv[2]) : join(root, 'src')

const imports = /(?:^|[;\s])(?:import|export)\b(\s+type\b)?(?:[^'"`;=(]*?\bfrom)?\s*\(?\s*['"]([^'"]+)['"]/g

/** Comments as spaces, so that places stay and examples in them are no imports. */
const withoutComments = (text) =>
  text.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '))

const files = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.[cm]?ts$/.test(entry.name) && !/\.test\.ts$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .sort()

const folderOf = (file) => {
  const parts = relative(src, file).split(sep)
  return parts.length > 1 ? parts[0] : undefined
}
const layerOf = (folder) => layers.findIndex((names) => names.includes(folder))

const problems = []
const graph = new Map()
/** Files that import what only Node has. */
const native = new Map()

for (const file of files) {
  const text = withoutComments(readFileSync(file, 'utf8'))
  const folder = folderOf(file)
  const targets = []
  graph.set(file, targets)
  if (folder !== undefined && layerOf(folder) < 0)
    problems.push({
      file,
      line: 1,
      text: `the folder '${folder}' is in no layer: add it to scripts/check-imports.mjs`,
    })
  for (const match of text.matchAll(imports)) {
    const [, type, specifier] = match
    const line = text.slice(0, match.index + match[0].lastIndexOf(specifier)).split('\n').length
    const report = (reason) => problems.push({ file, line, text: `imports '${specifier}': ${reason}` })
    if (!specifier.startsWith('.')) {
      if (/^(node:|koffi$|onnxruntime-node$)/.test(specifier) && !type) native.set(file, { line, specifier })
      for (const rule of owned)
        if (rule.package.test(specifier) && folder !== rule.folder) report(`only ${rule.folder}/ may`)
      continue
    }
    const target = resolve(dirname(file), specifier)
    if (relative(src, target).startsWith('..')) {
      report('it is outside of src/')
      continue
    }
    // Types are erased: between files that describe each other they make no cycle when the program runs.
    if (!type) targets.push({ target, line })
    const other = folderOf(target)
    if (folder === other || folder === undefined) continue
    if (other === undefined) report('files in src/ itself are above all folders')
    else if (layerOf(other) > layerOf(folder)) report(`${other}/ is above ${folder}/`)
    else if (layerOf(other) === layerOf(folder)) report(`${other}/ and ${folder}/ are beside each other`)
  }
}

/** Depth first: an import of a file whose own imports are still being followed closes a cycle. */
const done = new Set()
const open = []
function follow(file) {
  open.push(file)
  for (const { target, line } of graph.get(file) ?? []) {
    const at = open.indexOf(target)
    if (at >= 0) {
      const cycle = [...open.slice(at), target].map((member) => relative(src, member)).join(' -> ')
      problems.push({ file, line, text: `a cycle: ${cycle}` })
    } else if (!done.has(target)) follow(target)
  }
  open.pop()
  done.add(file)
}
for (const file of files) if (!done.has(file)) follow(file)

/** What the browser's library reaches must run there; some files are exchanged for others (package.json, `browser`). */
const exchanged = new Map(
  Object.entries(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).browser ?? {}).map((pair) =>
    pair.map((path) => join(root, path)),
  ),
)
const web = join(src, 'web.ts')
const reached = new Map([[web, [web]]])
for (const [file, path] of reached)
  for (const { target } of graph.get(file) ?? []) {
    const own = exchanged.get(target) ?? target
    if (!reached.has(own)) reached.set(own, [...path, own])
  }
for (const [file, path] of reached) {
  const found = native.get(file)
  if (!found) continue
  const way = path.map((member) => relative(src, member)).join(' -> ')
  problems.push({
    file,
    line: found.line,
    text: `a browser has no '${found.specifier}', and gets here: ${way}`,
  })
}

for (const { file, line, text } of problems) console.error(`${relative(process.cwd(), file)}:${line} ${text}`)
if (problems.length > 0) process.exit(1)
console.log(`imports: ${files.length} files, in order`)
