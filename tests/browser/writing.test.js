// Writing in the console, and the errors of writing.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { until } from './browser.js'
import { faint, go, hidden, picture, row, seeded, selected, withPage, writer } from './page.js'

describe('a console that is written in', () => {
  seeded()

  test('edits, and does not overwrite what it has not seen', () => withPage(async (page) => {
    await page.locator('#page-entry pre.value').waitFor()
    await page.keyboard.press('e')
    const area = page.locator('dialog textarea')
    await area.fill('{"rooms": }')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('That is not JSON').waitFor()
    await area.fill('{"rooms": 7, "exact": 0.10}')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    assert.equal((await writer.get('/config/limits')).text, '{"rooms": 7, "exact": 0.10}')
    await page.locator('#page-entry').getByText('0.10').waitFor()
    // Another client is quicker.
    await page.keyboard.press('e')
    await area.fill('"mine"')
    await writer.put('/config/limits', 'theirs')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('Someone has changed it meanwhile').waitFor()
    assert.equal((await writer.get('/config/limits')).text, '"theirs"')
    await page.getByLabel('Only if it is still at revision').uncheck()
    await page.getByRole('button', { name: 'Save' }).click()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    assert.equal((await writer.get('/config/limits')).text, '"mine"')
  }, {}, '#/config/limits'))

  test('keeps what was typed, though the dialog was closed or somebody else was quicker', () => withPage(async (page) => {
    const area = page.locator('dialog textarea')
    const [path, type, ttl] = ['Path', 'Type', 'Expires after seconds'].map((name) => page.locator('dialog').getByLabel(name))
    const again = page.locator('dialog').getByText('What you typed is here again')
    const open = async (key) => {
      await page.keyboard.press(key)
      await area.waitFor()
    }
    const close = async (how = () => page.keyboard.press('Escape')) => {
      await how()
      await page.locator('dialog').waitFor({ state: 'detached' })
    }
    await page.locator('#page-entry pre.value').waitFor()
    const shown = '{\n  "rooms": 200,\n  "rate": 12.5,\n  "open": null\n}'
    await open('e')
    assert.deepEqual([await again.count(), await area.inputValue()], [0, shown])
    await area.fill('half of a thoug')
    await type.selectOption('text/plain')
    await ttl.fill('60')
    await close()
    await open('e')
    await again.waitFor()
    assert.deepEqual([await area.inputValue(), await type.inputValue(), await ttl.inputValue()], ['half of a thoug', 'text/plain', '60'])
    await picture(page, 'typed-again-light')
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.setViewportSize({ width: 390, height: 780 })
    assert.deepEqual([await faint(page), await hidden(page)], [[], []])
    await picture(page, 'typed-again-phone-dark')
    await page.setViewportSize({ width: 1280, height: 800 })
    await page.emulateMedia({ colorScheme: 'light' })
    // The draft belongs to this entry and to this action.
    await close()
    for (const key of ['a', 'n']) {
      await open(key)
      assert.deepEqual([await again.count(), await area.inputValue()], [0, ''], key)
      await close()
    }
    await open('e')
    await page.getByRole('button', { name: 'Begin anew' }).click()
    assert.deepEqual([await again.isVisible(), await area.inputValue(), await type.inputValue(), await ttl.inputValue()], [false, shown, 'application/json', ''])
    await close()
    await open('e')
    assert.equal(await again.count(), 0)
    // A user who is told to look at what another client has put finds the typed text again
    // afterwards.
    await area.fill('"mine"')
    await writer.put('/config/limits', 'theirs')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('alert').getByText('What you typed stays').waitFor()
    await picture(page, 'conflict-light')
    await close(() => page.getByRole('button', { name: 'Cancel' }).click())
    await page.locator('#page-entry').getByText('theirs').waitFor()
    await open('e')
    await again.waitFor()
    assert.equal(await area.inputValue(), '"mine"')
    await close(() => page.getByRole('button', { name: 'Save' }).click())
    assert.equal((await writer.get('/config/limits')).text, '"mine"')
    await page.locator('#page-entry').getByText('mine').waitFor()
    // Also when the entry does not exist any more.
    await open('e')
    await area.fill('"mine again"')
    await writer.remove('/config/limits')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('alert').getByText('What you typed stays').waitFor()
    await close()
    await page.getByText('The entry was deleted').waitFor()
    await open('e')
    assert.equal(await area.inputValue(), '"mine again"')
    await area.fill('"mine"')
    await close(() => page.getByRole('dialog').getByRole('button', { name: 'Put' }).click())
    await page.locator('#page-entry').getByText('mine').waitFor()
    // What is done is not kept as a draft.
    await open('e')
    assert.deepEqual([await again.count(), await area.inputValue()], [0, '"mine"'])
    await close()
    await open('n')
    await path.fill('/config/new')
    await area.fill('[1')
    await close()
    await open('n')
    assert.deepEqual([await path.inputValue(), await area.inputValue()], ['/config/new', '[1'])
    await page.getByRole('button', { name: 'Begin anew' }).click()
    assert.deepEqual([await path.inputValue(), await area.inputValue()], ['/', ''])
    await close()
  }, {}, '#/config/limits'))

  test('puts what nobody touched as it was, though a field has its own ends of lines', () => withPage(async (page) => {
    await writer.run(async ({ client, Value }) => {
      await client.put('/doc/lines', Value.of('text/plain', new TextEncoder().encode('one\r\ntwo\r\n')))
    })
    await go(page, '/doc/lines')
    await page.locator('#page-entry pre.value').getByText('one').waitFor()
    await page.keyboard.press('e')
    await page.getByLabel('Type').selectOption('text/markdown')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    const { type, text } = await writer.get('/doc/lines')
    assert.deepEqual({ type, text }, { type: 'text/markdown', text: 'one\r\ntwo\r\n' })
  }))

  test('edits bytes: in hex, or by a file', () => withPage(async (page) => {
    const bytes = () => writer.run(async ({ client }) => {
      const { value } = await client.get('/doc/bytes')
      return { type: value.type, bytes: [...value.bytes] }
    })
    await writer.run(({ client, Value }) => client.put('/doc/bytes', Value.of('image/png', Uint8Array.from({ length: 18 }, (_, at) => 250 - at))))
    await page.locator('#page-entry').getByText('00000000  fa f9').waitFor()
    const area = page.locator('dialog textarea')
    const save = () => page.getByRole('button', { name: 'Save' }).click()
    await page.keyboard.press('e')
    assert.equal(await area.inputValue(), 'fa f9 f8 f7 f6 f5 f4 f3 f2 f1 f0 ef ee ed ec eb\nea e9')
    await picture(page, 'edit-bytes-light')
    await area.fill('00 0g')
    await save()
    await page.getByText('That is not hexadecimal: g').waitFor()
    await area.fill('00 1')
    await save()
    await page.getByText('A byte has two digits: 1').waitFor()
    await area.fill('00 FF\n8001')
    await save()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    assert.deepEqual(await bytes(), { type: 'image/png', bytes: [0, 255, 128, 1] })
    await page.locator('#page-entry').getByText('00000000  00 ff 80 01').waitFor()
    // A file is written unchanged, with the type that is chosen.
    await page.keyboard.press('e')
    await page.getByLabel('From a file').setInputFiles({ name: 'some.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([1, 0, 254]) })
    await page.getByText('The value will be the 3 B of some.bin').waitFor()
    assert.ok(await area.isDisabled(), 'what is in the field does not count')
    await page.getByLabel('Type').selectOption('application/octet-stream')
    await save()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    assert.deepEqual(await bytes(), { type: 'application/octet-stream', bytes: [1, 0, 254] })
  }, {}, '#/doc/bytes'))

  test('puts, appends and deletes', () => withPage(async (page) => {
    await page.keyboard.press('n')
    // Typed text goes behind the slash that is there.
    await page.keyboard.type('made')
    assert.equal(await page.locator('dialog').getByLabel('Path').inputValue(), '/made')
    await page.locator('dialog').getByLabel('Path').fill('no/slash')
    await page.getByRole('textbox', { name: 'Value' }).fill('1')
    await page.getByRole('dialog').getByRole('button', { name: 'Put' }).click()
    await page.getByText('A path begins with /').waitFor()
    await page.locator('dialog').getByLabel('Path').fill('/made/here/now')
    await page.getByLabel('Type').selectOption('text/plain')
    await page.getByRole('textbox', { name: 'Value' }).fill('by hand')
    await page.getByRole('dialog').getByRole('button', { name: 'Put' }).click()
    await page.locator('dialog').waitFor({ state: 'hidden' })
    await row(page, '/made/here/now').getByText('by hand').waitFor()
    assert.deepEqual(await writer.get('/made/here/now').then(({ type, text }) => ({ type, text })), { type: 'text/plain', text: 'by hand' })
    // The page goes to what was appended.
    await row(page, '/made/here').click()
    await page.keyboard.press('a')
    await page.getByRole('textbox', { name: 'Value' }).fill('["appended"]')
    await page.getByRole('dialog').getByRole('button', { name: 'Append' }).click()
    await until('the new entry is chosen', async () => /^\/made\/here\/[0-9a-f]{18}$/.test(await selected(page)))
    await page.locator('#page-entry').getByText('appended').waitFor()
    // Deleting asks first; cancelling changes nothing.
    await row(page, '/made/here/now').click()
    // A second key press in haste opens no second dialog.
    await page.locator('#tree').evaluate((tree) => {
      for (let at = 0; at < 2; at++) tree.dispatchEvent(new KeyboardEvent('keydown', { key: 'Delete', bubbles: true, cancelable: true }))
    })
    await page.getByText('This cannot be undone').waitFor()
    await page.waitForTimeout(200)
    assert.equal(await page.locator('dialog').count(), 1)
    await page.getByRole('button', { name: 'Cancel' }).click()
    assert.ok(await writer.get('/made/here/now'))
    await page.keyboard.press('d')
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await row(page, '/made/here/now').waitFor({ state: 'detached' })
    assert.equal(await writer.get('/made/here/now'), undefined)
    // A topic is deleted with everything under it.
    await row(page, '/made').click()
    await page.keyboard.press('d')
    await page.getByText('And everything under it: 1 entry').waitFor()
    // But not with what was written after it was counted; Escape closes the dialog that reports
    // this.
    await writer.put('/made/since', 1)
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByText('Someone has changed it meanwhile').waitFor()
    await page.keyboard.press('Escape')
    await page.locator('dialog').waitFor({ state: 'hidden' })
    assert.ok(await writer.get('/made/since'))
    await page.keyboard.press('d')
    await page.getByText('And everything under it: 2 entries').waitFor()
    await writer.put('/made/later', 1)
    await page.getByLabel('Also what is written there until then').check()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await row(page, '/made').waitFor({ state: 'detached' })
  }))

  test('says what is wrong with a path that cannot be one', () => withPage(async (page) => {
    const before = new URL(page.url()).hash
    for (const [text, fault] of [['/a//b', 'A path has no empty segment'], ['/a/../b', 'A segment is not . or ..']]) {
      await page.locator('#query').fill(text)
      await page.keyboard.press('Enter')
      await page.locator('#found').getByText(fault).waitFor()
      // The search that was scheduled while typing does not come later.
      await page.waitForTimeout(300)
      assert.ok(await page.locator('#found').getByText(fault).isVisible())
      assert.equal(new URL(page.url()).hash, before)
    }
    // While the user types, an impossible path is not reported as "nothing found".
    const faults = {
      '/a//b': 'A path has no empty segment', 'chat/./rust': 'A segment is not . or ..', '/a/../b': 'A segment is not . or ..', [`x${'é'.repeat(130)}`]: 'A segment has at most 255 bytes',
      [`a${'/b'.repeat(33)}`]: 'A path has at most 32 segments', 'chat/*//log': 'a segment is not empty', '../*': 'no segments', 'item-*': '* stands for a whole segment, which item-* is not',
      'chat/**.txt/*': '* stands for a whole segment, which **.txt is not',
    }
    for (const [text, fault] of Object.entries(faults)) {
      await page.locator('#query').fill(text)
      await page.locator('#found').getByText(fault).waitFor()
    }
    await picture(page, 'no-pattern-light')
    // A beginning of a path is searched for, and so is a path that looks like an invalid pattern.
    await writer.put('/doc/a*b', 1)
    for (const [text, found] of [['/config/', '2 paths'], ['/', 'paths'], ['chat/.', '0 paths'], ['doc/a*b', '1 path'], ['nowhere', '0 paths'], ['nowhere/*', '0 paths']]) {
      await page.locator('#query').fill(text)
      const told = page.locator('.found-head [role="status"]')
      await until(`${text}: ${found}`, async () => (await told.textContent()).endsWith(found))
    }
    // A log is not found if only its entries have values.
    const why = page.locator('#found').getByText('Only paths that hold a value are found')
    for (const text of ['chat/*/log', 'nowhere']) {
      await page.locator('#query').fill(text)
      await why.waitFor()
    }
    await page.locator('#query').fill('chat/*/log/*')
    await why.waitFor({ state: 'hidden' })
    await page.keyboard.press('Escape')
    await row(page, '/config').waitFor()
  }))
})
