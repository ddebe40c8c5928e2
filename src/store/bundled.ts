/** The models that come with glossa, by name. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Beside the package's code, whether that is run from src/ or from dist/. */
const models = fileURLToPath(new URL('../../models', import.meta.url))

/** Names of the models that come with glossa: `default`, and the smaller ones of its ladder. */
export const bundledModels = (): string[] =>
  existsSync(models)
    ? readdirSync(models)
        .filter((name) => existsSync(join(models, name, 'config.json')))
        .sort()
    : []

/** The folder of a model that comes with glossa; undefined for any other name. */
export const bundledModel = (name: string): string | undefined =>
  bundledModels().includes(name) ? join(models, name) : undefined
