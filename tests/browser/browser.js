// A headless Chromium, and pages whose logs are checked.

import { existsSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const PICTURES = fileURLToPath(new URL('../../target/console/', import.meta.url))

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** Starts the browser. Throws what is missing if there is none. */
export async function startBrowser() {
  const place = PLACES.filter(Boolean).find((place) => existsSync(place))
  if (!place) throw new Error("Chromium is missing: install it ('apt-get install chromium'), or name one in CHROMIUM")
  const { chromium } = await import('playwright-core').catch(() => {
    throw new Error("playwright-core is missing: run 'npm ci' in tests/browser")
  })
  mkdirSync(PICTURES, { recursive: true })
  return chromium.launch({ executablePath: place, args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'] })
}

/**
 * Opens a page. `errors` is everything that went wrong in it: exceptions, errors in its log,
 * requests that failed.
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'no-preference', ...options })
  const page = await context.newPage()
  const errors = []
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') errors.push(`${message.type()}: ${message.text()}`)
  })
  page.on('requestfailed', (request) => {
    // A request of a page that was left is aborted, which is no error.
    const fault = request.failure()?.errorText
    if (fault !== 'net::ERR_ABORTED') errors.push(`failed: ${request.url()} ${fault}`)
  })
  await page.goto(url)
  return { page, errors, close: () => context.close() }
}

/** Waits until `so()` is true. If it never is, the error says what was waited for. */
export async function until(what, so, patience = 15_000) {
  const end = Date.now() + patience
  for (;;) {
    const value = await so()
    if (value) return value
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}
