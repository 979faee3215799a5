// What the console's tests share: a browser, a broker with a tree, and functions that find things
// in a page.

import assert from 'node:assert/strict'
import { after, before, beforeEach } from 'node:test'

import { PICTURES, openPage, startBrowser, until } from './browser.js'
import { freePort, startBroker } from './broker.js'
import { openWriter } from './writer.js'

export const row = (page, path) => page.locator(`#tree [data-path="${path}"]:not([hidden])`)
export const twist = (page, path) => row(page, path).locator('.twist').click()
export const selected = (page) => page.locator('#tree [aria-selected="true"]:not([hidden])').getAttribute('data-path')

/**
 * Goes to a path by the address, and waits until the page is there: the page hears of its address
 * later, and until then keys act on what it shows. `title`: how the path is written there.
 */
export async function go(page, path, title = path) {
  await page.evaluate((hash) => (location.hash = hash), `#${path.split('/').map(encodeURIComponent).join('/')}`)
  await until(`the page is at ${title}`, async () => (await page.locator('#page-entry h2').textContent()) === title)
  // In a narrow window the tree may be hidden.
  if (await page.locator('#tree').isVisible()) await until(`${title} is chosen`, async () => (await selected(page)) === path)
}

/**
 * What of the open dialog cannot be seen: a button outside of it or behind something, or its own
 * edge outside of the window.
 */
export const hidden = (page) => page.locator('dialog[open]').evaluate((dialog) => {
  const within = (one, other) => one.left >= other.left && one.right <= other.right && one.top >= other.top && one.bottom <= other.bottom
  const box = dialog.getBoundingClientRect()
  const found = within(box, { left: 0, top: 0, right: innerWidth, bottom: innerHeight }) ? [] : ['the dialog']
  for (const button of dialog.querySelectorAll('button')) {
    const own = button.getBoundingClientRect()
    const top = document.elementFromPoint(own.left + own.width / 2, own.top + own.height / 2)
    if (!within(own, box) || top !== button) found.push(button.textContent)
  }
  if (dialog.scrollWidth > dialog.clientWidth) found.push('what is to its right')
  return found
})

/**
 * Whether the end of a text cannot be seen because its element is scrolled elsewhere, or is too
 * small.
 */
export const endHidden = (page, what) => page.locator(what).evaluate((element) => {
  const range = document.createRange()
  const words = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
  while (words.nextNode()) range.selectNodeContents(words.currentNode)
  range.setStart(range.endContainer, range.endOffset - 1)
  const end = [...range.getClientRects()].at(-1)
  const box = element.getBoundingClientRect()
  return !end || end.bottom > Math.min(box.bottom, innerHeight) + 1 || end.top < box.top - 1 || end.right > box.right + 1
})

/** Returns text with too little contrast: less than 4.5 to 1, as WCAG 2.1 counts it (AA). */
export const faint = (page) => page.evaluate(() => {
  const numbers = (color) => color.match(/[\d.]+/g).map(Number)
  const light = (color) => numbers(color).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0)
  const ground = (element) => {
    const { backgroundColor } = getComputedStyle(element)
    return numbers(backgroundColor)[3] === 0 ? ground(element.parentElement) : backgroundColor
  }
  const found = new Set()
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || !element.checkVisibility()) continue
    const [high, low] = [light(getComputedStyle(element).color), light(ground(element))].sort((one, other) => other - one)
    const ratio = (high + 0.05) / (low + 0.05)
    if (ratio < 4.5) found.add(`${element.className || element.id || element.tagName} ${ratio.toFixed(2)}`)
  }
  return [...found]
})
export const picture = (page, name) => page.screenshot({ path: `${PICTURES}${name}.png` })

/** The browser of all tests in a file. */
export let browser
before(async () => {
  browser = await startBrowser()
})
after(() => browser?.close())

/** What `seeded` has started. */
export let broker, writer

/**
 * For the tests of a `describe`: a broker whose tree has each kind of entry, and nothing else when
 * a test begins.
 */
export function seeded() {
  before(async () => {
    broker = await startBroker(await freePort())
    writer = await openWriter(browser, broker)
  })
  beforeEach(async () => {
    await writer.drop('/')
    await writer.seed()
  })
  after(() => broker?.stop())
}

/** Runs `work` with a page, which must end without an error in its log. */
export async function withPage(work, options, hash = '') {
  const { page, errors, close } = await openPage(browser, `${broker.url}/console/${hash}`, options)
  try {
    await row(page, '/config').waitFor()
    await work(page)
    assert.deepEqual(errors, [], 'the log of the browser')
  } finally {
    await close()
  }
}
