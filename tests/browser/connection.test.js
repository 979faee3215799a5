// The console while its broker is gone, is another one, or has another history.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { openPage, until } from './browser.js'
import { freePort, startBroker } from './broker.js'
import { openLine } from './line.js'
import { browser, go, picture, row, selected, twist } from './page.js'
import { openWriter } from './writer.js'

test('says when the broker is gone, and goes on when it is back', async () => {
  const port = await freePort()
  let broker = await startBroker(port)
  const writer = await openWriter(browser, broker)
  await writer.seed()
  const { page } = await openPage(browser, `${broker.url}/console/#/config/theme`)
  // The entry and the tree arrive independently.
  await page.locator('#page-entry pre.value').waitFor()
  await row(page, '/config/theme').waitFor()
  const banner = page.locator('#banner')
  assert.ok(await banner.isHidden())
  await writer.close()
  await broker.kill()
  await banner.getByText('Disconnected').waitFor()
  await banner.getByText('What is shown is from revision').waitFor()
  assert.ok(await row(page, '/config/theme').isVisible(), 'what was there is still shown')
  await picture(page, 'banner-light')
  // The broker comes back with another history and another tree.
  broker = await startBroker(port)
  const again = await openWriter(browser, broker)
  await again.put('/config/theme', { another: 'tree' })
  await banner.waitFor({ state: 'hidden', timeout: 30_000 })
  await page.locator('#page-entry').getByText('another').waitFor()
  await row(page, '/sensors').waitFor({ state: 'detached' })
  // The tree may have been seen empty in between, and opened topics are closed then.
  const { rev } = await again.put('/config/more', true)
  await go(page, '/config/more')
  await row(page, '/config/more').waitFor()
  await until('the revision is that of the new tree', async () => (await page.locator('#state').textContent()).endsWith(` ${rev}`))
  await page.context().close()
  await broker.stop()
})

test('says that a write waits for the connection, and what it is to cancel it', async () => {
  const port = await freePort()
  let broker = await startBroker(port)
  const writer = await openWriter(browser, broker)
  await writer.seed()
  const { page } = await openPage(browser, `${broker.url}/console/#/config/theme`)
  const [dialog, banner] = [page.locator('dialog'), page.locator('#banner')]
  const button = (name) => dialog.getByRole('button', { name })
  await page.locator('#page-entry pre.value').waitFor()
  await page.keyboard.press('e')
  await dialog.getByRole('textbox', { name: 'Value' }).fill('"of the first"')
  await writer.close()
  await broker.kill()
  await banner.getByText('Disconnected').waitFor()
  await button('Save').click()
  await dialog.getByText('It waits for the connection.').waitFor()
  await dialog.getByText('it may still be done').waitFor()
  assert.deepEqual([await button('Save').isEnabled(), await button('Cancel').isEnabled()], [false, true])
  await picture(page, 'waits-light')
  await button('Cancel').click()
  await dialog.waitFor({ state: 'detached' })
  // What would be deleted cannot be shown now, and no dialog about it comes later, over what is
  // done then.
  await page.keyboard.press('d')
  await banner.getByText('Without a connection').waitFor()
  // Another write, which waits for the connection.
  await page.keyboard.press('n')
  await dialog.getByLabel('Path').fill('/made/meanwhile')
  await dialog.getByRole('textbox', { name: 'Value' }).fill('1')
  await page.keyboard.press('Control+Enter')
  await dialog.getByText('It waits for the connection.').waitFor()
  // Pressing the keys again does not put again, which would be a conflict.
  await page.keyboard.press('Control+Enter')
  broker = await startBroker(port)
  await dialog.waitFor({ state: 'detached', timeout: 25_000 })
  await until('it goes to what was put', async () => (await selected(page)) === '/made/meanwhile')
  await page.locator('#page-entry').getByText('the latest of all').waitFor()
  assert.equal(await dialog.count(), 0)
  // There is no such entry now. The result of the dialog that was cancelled is reported, too.
  await banner.getByText('Edit, which was closed before its end: Someone has changed it meanwhile').waitFor()
  const again = await openWriter(browser, broker)
  assert.deepEqual([(await again.get('/made/meanwhile')).text, await again.get('/config/theme')], ['1', undefined])
  await page.context().close()
  await broker.stop()
})

test('says that it resyncs, as long as it does, and shows the new tree then', async () => {
  const many = 1200
  const [port, own] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${own}`
  const start = () => startBroker(port, ['--memory', '--set', `origins=["${url}"]`])
  let broker = await start()
  const line = await openLine(own, port)
  const writer = await openWriter(browser, broker)
  await writer.put('/about', 'the first')
  await writer.put('/many/item-old', 'of the first')
  const { page } = await openPage(browser, `${url}/console/`)
  await twist(page, '/many')
  await row(page, '/many/item-old').getByText('of the first').waitFor()
  await writer.close()
  line.down = true
  await broker.kill()
  const banner = page.locator('#banner')
  await banner.getByText('Disconnected').waitFor()
  // Another history, in which the opened topic has so much that it takes seconds to arrive.
  broker = await start()
  const again = await openWriter(browser, broker)
  await again.fill('/many', many)
  await again.put('/about', 'the second')
  Object.assign(line, { rate: 20_000, down: false })
  await banner.getByText('Resyncing').waitFor()
  await banner.getByText('the broker has another history').waitFor()
  assert.ok(await row(page, '/many/item-old').isVisible(), 'what was there is shown until all is there')
  assert.equal(await row(page, '/many/item-000000').count(), 0, 'and nothing of the other before')
  await picture(page, 'banner-resync-light')
  await banner.waitFor({ state: 'hidden', timeout: 30_000 })
  line.rate = Infinity
  await row(page, '/many/item-old').waitFor({ state: 'detached' })
  await row(page, '/many/item-000000').getByText('number 0').waitFor()
  assert.equal(await row(page, '/many/item-000000').getAttribute('aria-setsize'), String(many))
  await row(page, '/about').getByText('the second').waitFor()
  await page.context().close()
  await broker.stop()
  line.close()
})

test('what was looked at in another history is not changed by its revision', async () => {
  const port = await freePort()
  const start = () => startBroker(port, ['--memory'])
  let broker = await start()
  const writer = await openWriter(browser, broker)
  await writer.put('/one', 'the first')
  await writer.close()
  const { page } = await openPage(browser, `${broker.url}/console/#/one`)
  await page.locator('#page-entry').getByText('the first').waitFor()
  await page.keyboard.press('e')
  await page.getByRole('textbox', { name: 'Value' }).fill('"mine"')
  await broker.kill()
  // Something else is at the same revision.
  broker = await start()
  const again = await openWriter(browser, broker)
  await again.put('/one', 'the second')
  await row(page, '/one').getByText('the second').waitFor()
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByRole('alert').getByText('another history').waitFor()
  assert.equal((await again.get('/one')).text, '"the second"')
  await page.getByLabel('Only if it is still').uncheck()
  await page.getByRole('button', { name: 'Save' }).click()
  await page.locator('dialog').waitFor({ state: 'hidden' })
  assert.equal((await again.get('/one')).text, '"mine"')
  await page.context().close()
  await broker.stop()
})
