// How the console looks: what is visible, and what can be read.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { openPage, until } from './browser.js'
import { broker, browser, endHidden, faint, go, hidden, picture, row, seeded, withPage, writer } from './page.js'

describe('a console that is looked at', () => {
  seeded()

  test('has all buttons in sight, however long names and values are', async () => {
    const long = `/${['a', 'b', 'c', 'd'].map((letter) => letter.repeat(249)).join('/')}`
    await writer.put('/doc/long', { text: '<b>x</b>', number: 1e300, long: 'y'.repeat(5000) })
    await writer.put(long, 'z'.repeat(5000))
    await writer.put(`${long}/under`, 1)
    await withPage(async (page) => {
      for (const [width, height] of [[1280, 800], [360, 640]]) {
        await page.setViewportSize({ width, height })
        for (const path of ['/doc/long', long]) {
          await go(page, path)
          await page.locator('#page-entry pre.value').getByText(/yyyy|zzzz/).first().waitFor()
          for (const key of ['d', 'e', 'a', 'n', '?']) {
            const what = `${key} of ${path.slice(0, 9)} at ${width}`
            await page.keyboard.press(key)
            await page.locator('dialog[open] button').first().waitFor()
            assert.deepEqual(await hidden(page), [], what)
            if (key === 'e') await picture(page, `edit-${path.length > 99}-${width}`)
            if (key === 'd' || key === 'e') assert.deepEqual(await endHidden(page, 'dialog .where'), false, what)
            if (key === 'n') {
              // The error message is long.
              await page.locator('dialog').getByLabel('Path').fill(`/${'p'.repeat(1000)}`)
              await page.locator('dialog').getByRole('textbox', { name: 'Value' }).fill('1')
              await page.locator('dialog').getByRole('button', { name: 'Put' }).click()
              await page.locator('dialog .error').getByText('at most 255 bytes').waitFor()
              assert.deepEqual(await hidden(page), [], `${what}, refused`)
            }
            await page.keyboard.press('Escape')
            await page.locator('dialog').waitFor({ state: 'detached' })
          }
          // The end of a long path is visible, because the name is there.
          assert.deepEqual(await endHidden(page, '#page-entry h2'), false, `the title of ${path.slice(0, 9)} at ${width}`)
          await picture(page, `long-${path.length > 99}-${width}`)
          // No element of a page overlaps another.
          await page.keyboard.press('f')
          await page.getByText('0 changes').waitFor()
          assert.ok(!(await endHidden(page, '#page-changes .bar .path')), `${path.slice(0, 9)} followed at ${width}`)
          const spilt = await page.locator('#page-changes .bar > *').evaluateAll((parts) => parts
            .filter((part) => part.scrollWidth > part.clientWidth && part.clientWidth > 0 && getComputedStyle(part).overflowX !== 'hidden')
            .map((part) => part.textContent))
          assert.deepEqual(spilt, [], `${path.slice(0, 9)} followed at ${width}`)
          await page.keyboard.press('1')
          const delete_ = await page.locator('#page-entry').getByRole('button', { name: 'Delete' }).boundingBox()
          assert.ok(delete_.x + delete_.width <= width && delete_.y + delete_.height <= height, `the buttons of an entry at ${width}`)
        }
      }
      // The same holds for elements in a list.
      for (const width of [1280, 360]) {
        await page.setViewportSize({ width, height: 800 })
        await go(page, '/')
        await page.keyboard.press('f')
        await page.getByText('0 changes').waitFor()
        await writer.put(`${long}/under`, width)
        await writer.put('/doc/short', width)
        await page.locator('.roll [data-path="/doc/short"] .path').waitFor()
        for (const path of [`${long}/under`, '/doc/short']) assert.ok(!(await endHidden(page, `.roll [data-path="${path}"] .path`)), `${path.slice(0, 9)} changed at ${width}`)
        await picture(page, `long-changes-${width}`)
        await page.keyboard.press('/')
        await page.keyboard.type('/')
        await row(page, '/config').waitFor({ state: 'hidden' })
        await page.locator(`.found-rows [data-path="${long}/under"] .path`).waitFor()
        for (const path of [`${long}/under`, long, '/chat/rust']) assert.ok(!(await endHidden(page, `.found-rows [data-path="${path}"] .path`)), `${path.slice(0, 9)} found at ${width}`)
        await picture(page, `long-found-${width}`)
        await page.keyboard.press('Escape')
      }
    }, {}, '#/doc/long')
  })

  test('spells out what of a path cannot be seen, or moves what stands beside it', async () => {
    const names = {
      'a b': 'a b', 'a  b': 'a␣␣b', 'a b ': 'a b␣', ' a b': '␣a b', 'a\u00a0b': 'a\\u{a0}b', 'a\u200bb': 'a\\u{200b}b', 'ab': 'ab', 'invoice\u202egpj.exe': 'invoice\\u{202e}gpj.exe',
      'אב': 'אב', 'a\u3164': 'a\\u{3164}', '\\u{a0}': '\\u{a0}',
    }
    for (const name of Object.keys(names)) await writer.put(`/seen/${name}`, 1)
    await writer.put('/seen/אב/גד', 2)
    const texts = (what) => what.evaluateAll((all) => all.map((one) => one.textContent))
    const spelt = (top) => Object.values(names).map((name) => top + name)
    await withPage(async (page) => {
      const shown = async () => (await texts(page.locator('#tree .row:not([hidden]) .name'))).filter((name) => spelt('').includes(name))
      await until('the names are shown', async () => (await shown()).sort().join() === spelt('').sort().join())
      // An escaped character differs from the same text written literally.
      assert.deepEqual(await page.locator('#tree .unseen').evaluateAll((all) => all.filter((one) => one.closest('.row').dataset.path === '/seen/\\u{a0}').length), 0)
      await page.keyboard.press('/')
      await page.keyboard.type('/SEEN/A')
      await page.getByText('7 paths').waitFor()
      const found = spelt('/seen/').filter((path) => path.startsWith('/seen/a')).sort().join()
      await until('what was found is shown', async () => (await texts(page.locator('.found-rows .row:not([hidden]) .path'))).sort().join() === found)
      assert.deepEqual(await texts(page.locator('.found-rows [data-path="/seen/ab"] mark')), ['/seen/a'])
      assert.deepEqual(await texts(page.locator('.found-rows [data-path="/seen/a  b"] mark')), ['/', 'seen', '/', 'a'])
      await page.keyboard.press('Escape')
      // The title, the dialogs and the changes show escapes too.
      for (const [name, text] of Object.entries(names)) {
        await go(page, `/seen/${name}`, `/seen/${text}`)
        const looks = name === 'a  b' || name.length > 9
        for (const key of looks ? ['d', 'e'] : []) {
          await page.keyboard.press(key)
          await page.locator('dialog .where').waitFor()
          assert.deepEqual(await texts(page.locator('dialog .where')), [`/seen/${text}`], key)
          if (key === 'd' && name.length > 9) await picture(page, 'spelt-delete-light')
          await page.keyboard.press('Escape')
          await page.locator('dialog').waitFor({ state: 'detached' })
        }
      }
      await go(page, '/seen')
      await page.keyboard.press('f')
      await page.getByText('0 changes').waitFor()
      for (const name of Object.keys(names)) await writer.put(`/seen/${name}`, 3)
      await page.getByText(`${Object.keys(names).length} changes`).waitFor()
      await until('the changes are shown', async () => (await texts(page.locator('.roll .row:not([hidden]) .path'))).sort().join() === spelt('/').sort().join())
      await picture(page, 'spelt-changes-light')
      // Segments stay in order, whatever the direction of their letters.
      await page.keyboard.press('1')
      await go(page, '/seen/אב/גד')
      const title = page.locator('#page-entry h2')
      await title.getByText('גד').waitFor()
      const [first, second] = await Promise.all(['אב', 'גד'].map(async (name) => (await title.getByText(name, { exact: true }).boundingBox()).x))
      assert.ok(first < second, `${first} < ${second}`)
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme })
        assert.deepEqual(await faint(page), [], colorScheme)
      }
      await picture(page, 'spelt-dark')
      await page.setViewportSize({ width: 390, height: 780 })
      await page.locator('#tab-tree').click()
      await picture(page, 'spelt-phone-dark')
    }, {}, '#/seen/ab')
  })

  test('is dark or light, as the system says or as the user does', () => withPage(async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const light = await ground()
    await picture(page, 'entry-light')
    await page.emulateMedia({ colorScheme: 'dark' })
    const dark = await ground()
    assert.notEqual(dark, light)
    await picture(page, 'entry-dark')
    await page.locator('#theme').click()
    assert.equal(await ground(), light, 'light is chosen')
    await page.reload()
    await row(page, '/config').waitFor()
    assert.equal(await ground(), light, 'and kept')
    await page.keyboard.press('t')
    assert.equal(await ground(), dark)
    await page.keyboard.press('t')
    await page.emulateMedia({ colorScheme: 'light' })
    assert.equal(await ground(), light, 'as the system says again')
  }, {}, '#/config/theme'))

  test('has no words that are too faint to be read', () => withPage(async (page) => {
    await row(page, '/config/theme').getByText(/^r\d/).waitFor()
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      for (const key of ['1', '2', '3', '4']) {
        await page.keyboard.press(key)
        if (key === '2') {
          await page.keyboard.press('f')
          await page.getByText('0 changes').waitFor()
          await writer.put('/config/theme', { dark: colorScheme === 'dark' })
          await page.locator('.roll .row').first().waitFor()
        }
        if (key === '3') await page.locator('.sessions .tag').first().waitFor()
        assert.deepEqual(await faint(page), [], `page ${key}, ${colorScheme}`)
      }
      await page.keyboard.press('n')
      assert.deepEqual(await faint(page), [], `dialog, ${colorScheme}`)
      await page.keyboard.press('Escape')
      await page.locator('dialog').waitFor({ state: 'detached' })
    }
  }, {}, '#/config/theme'))

  test('is readable on a phone', async () => {
    const phone = { viewport: { width: 390, height: 800 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true }
    const { page, errors, close } = await openPage(browser, `${broker.url}/console/#/config/theme`, phone)
    await page.locator('#page-entry pre.value').waitFor()
    for (const tab of ['entry', 'tree', 'changes', 'sessions', 'health']) {
      await page.locator(`#tab-${tab}`).tap()
      await page.waitForTimeout(1200)
      const wide = await page.evaluate(() => document.documentElement.scrollWidth)
      assert.ok(wide <= 390, `${tab} is ${wide} pixels wide`)
      assert.equal(await page.locator('#pane-tree').isVisible(), tab === 'tree')
      await picture(page, `phone-${tab}`)
    }
    // A tap on an entry shows it; a tap on a topic that only has entries below it stays in the
    // tree.
    await page.locator('#tab-tree').tap()
    await row(page, '/config').tap()
    assert.equal(await page.locator('#pane-tree').isVisible(), true)
    await row(page, '/exact').tap()
    await page.locator('#page-entry').getByText('12345678901234567890.10').waitFor()
    assert.deepEqual(errors, [])
    await close()
  })

  test('begins on a phone with the tree, unless the address names an entry', async () => {
    const { page, errors, close } = await openPage(browser, `${broker.url}/console/`, { viewport: { width: 390, height: 800 } })
    await row(page, '/config').waitFor()
    const visible = () => Promise.all(['#pane-tree', '#page-entry'].map((part) => page.locator(part).isVisible()))
    assert.deepEqual(await visible(), [true, false])
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tree')
    await picture(page, 'phone-begin')
    // Turned to its side the phone is wide: an entry is shown beside the tree.
    await page.setViewportSize({ width: 800, height: 390 })
    assert.deepEqual(await visible(), [true, true])
    assert.deepEqual(errors, [])
    await close()
  })

  test('says how the connection stands, however narrow it is', () => withPage(async (page) => {
    for (const width of [1280, 390, 360]) {
      await page.setViewportSize({ width, height: 640 })
      for (const told of ['connecting', 'disconnected', 'revision 100,120', 'revision 9,007,199,254,740,991']) {
        // Check at once: the banner sets the text again four times a second.
        const seen = await page.evaluate((told) => {
          const text = document.querySelector('#state-text')
          text.textContent = told
          const [state, dot, box, title] = ['#state', '.dot', '#state-text', '.top h1'].map((name) => document.querySelector(name).getBoundingClientRect())
          return {
            dot: dot.width === 8 && dot.left >= Math.max(state.left, title.right) && dot.right <= box.left,
            text: box.right <= state.right && (text.scrollWidth <= text.clientWidth || getComputedStyle(text).textOverflow === 'ellipsis'),
            enough: text.clientWidth > 60,
            wide: document.documentElement.scrollWidth,
          }
        }, told)
        assert.deepEqual(seen, { dot: true, text: true, enough: true, wide: width }, `${told} at ${width}`)
      }
    }
    await picture(page, 'narrow-light')
    // One page is visible at a time: keys bring it into view, and do not act on what is hidden.
    await page.keyboard.press('/')
    await page.keyboard.type('nothing')
    await page.getByText('0 paths').waitFor()
    await page.keyboard.press('Escape')
    await page.keyboard.press('1')
    assert.ok(await page.locator('#tree').isHidden())
    await page.keyboard.press('Escape')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tree')
  }))
})
