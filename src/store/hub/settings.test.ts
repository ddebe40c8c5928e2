import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { hubSettings } from './settings.ts'

const root = mkdtempSync(join(tmpdir(), 'glossa-settings-'))
afterAll(() => rmSync(root, { recursive: true }))

test.each<[env: Record<string, string>, cache: string]>([
  [{}, join(homedir(), '.cache/huggingface/hub')],
  [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
  [{ XDG_CACHE_HOME: '/x', HF_HOME: '~/hf' }, join(homedir(), 'hf/hub')],
  [{ HF_HOME: '$BASE/hf', BASE: '/b' }, '/b/hf/hub'],
  [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
  [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/new' }, '/new'],
  [{ HF_HOME: '', HF_HUB_CACHE: 'here' }, 'here'],
])('the cache of %j is %s', (env, cache) => {
  expect(hubSettings(env).cache).toBe(resolve(cache))
})

test('the token is that of HF_TOKEN, or of a file', () => {
  mkdirSync(join(root, 'home'))
  writeFileSync(join(root, 'home/token'), 'of the home\n')
  writeFileSync(join(root, 'other'), 'of a file\n')
  const env = { HF_HOME: join(root, 'home') }
  expect(hubSettings(env).token).toBe('of the home')
  expect(hubSettings({ ...env, HF_TOKEN_PATH: join(root, 'other') }).token).toBe('of a file')
  expect(hubSettings({ ...env, HF_TOKEN: ' its own ' }).token).toBe('its own')
  expect(hubSettings({ HF_HOME: root }).token).toBeUndefined()
})

test('switches, times and the endpoint', () => {
  const defaults = { offline: false, symlinks: true, progressBars: true, answerMs: 10_000, silenceMs: 10_000 }
  expect(hubSettings({})).toMatchObject({ ...defaults, endpoint: 'https://huggingface.co' })
  for (const name of ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'])
    for (const value of ['1', 'true', 'YES', 'on']) expect(hubSettings({ [name]: value }).offline).toBe(true)
  expect(hubSettings({ HF_HUB_OFFLINE: '0' }).offline).toBe(false)
  const env = {
    HF_ENDPOINT: 'http://mirror/hub/',
    HF_HUB_DISABLE_SYMLINKS: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    HF_HUB_ETAG_TIMEOUT: '3',
    HF_HUB_DOWNLOAD_TIMEOUT: '60',
  }
  const given = { symlinks: false, progressBars: false, answerMs: 3000, silenceMs: 60_000 }
  expect(hubSettings(env)).toMatchObject({ ...given, endpoint: 'http://mirror/hub' })
  expect(() => hubSettings({ HF_ENDPOINT: 'mirror' })).toThrow("HF_ENDPOINT is 'mirror'")
})
