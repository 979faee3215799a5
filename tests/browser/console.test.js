// The console in headless Chromium, against a real broker: what it shows, and how to navigate.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { openPage, until } from './browser.js'
import { freePort, startBroker } from './broker.js'
import { broker, browser, go, picture, row, seeded, selected, twist, withPage, writer } from './page.js'
import { openWriter } from './writer.js'

describe('a console on a tree', () => {
  seeded()

  test('opens lazily, and follows', () => withPage(async (page) => {
    // Topics without a value are shown although they have no entry of their own.
    for (const name of ['/chat', '/config', '/doc', '/exact', '/sensors']) await row(page, name).waitFor()
    assert.equal(await row(page, '/config/theme').count(), 0, 'nothing under a closed topic is in the page')
    await twist(page, '/sensors')
    await twist(page, '/sensors/roof')
    await row(page, '/sensors/roof/temperature').getByText('21.5').waitFor()
    await writer.put('/sensors/roof/temperature', 22.75)
    await row(page, '/sensors/roof/temperature').getByText('22.75').waitFor()
    // A new entry appears live; a new topic without a value appears with the next listing.
    await writer.put('/sensors/roof/wind', 'calm')
    await row(page, '/sensors/roof/wind').getByText('calm').waitFor()
    await writer.put('/sensors/attic/light', 3)
    await row(page, '/sensors/attic').waitFor()
    await writer.remove('/sensors/attic/light')
    await row(page, '/sensors/attic').waitFor({ state: 'detached' })
    await writer.remove('/sensors/roof/wind')
    await row(page, '/sensors/roof/wind').waitFor({ state: 'detached' })
    // A leaf shows that nothing is under it, a topic that something is.
    await until('a leaf has no arrow', async () => (await row(page, '/exact').getAttribute('aria-expanded')) === null)
    assert.equal(await row(page, '/doc').getAttribute('aria-expanded'), 'false')
  }))

  test('shows values as they are, and their revision and age', () => withPage(async (page) => {
    const value = page.locator('#page-entry pre.value')
    await value.waitFor()
    assert.match(await value.textContent(), /"number": 12345678901234567890\.10/, 'no digit is lost')
    assert.match(await value.textContent(), /<b>not markup<\/b>/)
    assert.equal(await page.locator('#page-entry pre b').count(), 0, 'a value is never markup')
    const { rev } = await writer.get('/exact')
    assert.equal((await page.locator('#entry-rev').textContent()).replaceAll(',', ''), String(rev))
    await writer.put('/config/theme', { dark: false })
    await page.locator('.facts').getByText(/\d+ revisions? ago/).waitFor()
    await go(page, '/doc/logo')
    await page.locator('#page-entry').getByText('00000000  00 07 0e').waitFor()
    await go(page, '/doc/readme')
    await page.locator('#page-entry').getByText('Each room is a log').waitFor()
    await page.locator('#page-entry').getByText('text/markdown').waitFor()
  }, {}, '#/exact'))

  test('says of a topic without a value how much is under it, asks for it seldom, and says how it is followed', () => withPage(async (page) => {
    const told = page.locator('#page-entry .empty')
    let asked = 0
    // A browser sends JSON, and no other request of this page has that limit.
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => (asked += Number(payload.includes('"limit":1000')))))
    await page.reload()
    await row(page, '/config').waitFor()
    await writer.put('/hall/one', 1)
    await go(page, '/hall')
    await told.getByText('There is no value at this path; under it is 1 entry.').waitFor()
    asked = 0
    const written = async (seconds) => {
      for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
        await writer.put('/clock', Date.now())
        await page.waitForTimeout(200)
      }
    }
    await writer.append('/hall/log', 'two')
    await written(4)
    assert.equal(asked, 0, 'it was asked for not long ago')
    await told.getByText('under it are 2 entries.').waitFor()
    assert.equal(asked, 1)
    // Nobody sees the page.
    await page.keyboard.press('2')
    await writer.drop('/hall')
    await written(12)
    assert.equal(asked, 1)
    await page.keyboard.press('1')
    await until('nothing is under it', async () => (await told.textContent()) === 'There is no value at this path.', 5000)
    // Another path is counted at once. If there are more entries than are counted, it is not
    // counted again so soon.
    await writer.fill('/full', 1001)
    asked = 0
    await go(page, '/full')
    await told.getByText('under it are 1,000 or more entries.').waitFor({ timeout: 5000 })
    await written(12)
    assert.equal(asked, 1)
    await writer.put('/full', 'a value')
    await page.locator('#page-entry pre.value').waitFor()
    await page.keyboard.press('2')
    await page.locator('#page-changes').getByText('with the button Follow, or the key f').waitFor()
  }))

  test('shows of a huge value what is to be read, whatever it is made of', () => withPage(async (page) => {
    const value = page.locator('#page-entry pre.value')
    const huge = {
      // More elements than a call takes arguments; quotes in a string that is cut; members.
      numbers: ['[\n  0,\n  1,', () => Array.from({ length: 100_000 }, (_, at) => at % 10)],
      text: ['"é\\"xé\\"x', () => 'é"x'.repeat(50_000)],
      members: ['{\n  "key0": {\n    "at": 0,\n    "of": [1, 2, 3]', () => Object.fromEntries(Array.from({ length: 8000 }, (_, at) => [`key${at}`, { at, of: [1, 2, 3] }]))],
    }
    for (const [name, [begins, make]] of Object.entries(huge)) {
      await writer.put(`/huge/${name}`, make())
      await go(page, `/huge/${name}`)
      await value.getByText(/cut: it has [2-9]\d\d kB/).waitFor()
      const text = await value.textContent()
      assert.ok(text.startsWith(begins) && text.length > 20_000, `${name}: ${text.length} of ${text.slice(0, 40)}`)
    }
  }))

  test('goes where the address says, though the place before is still on its way', () => withPage(async (page) => {
    await page.evaluate(async () => {
      const changed = new Promise((resolve) => window.addEventListener('hashchange', resolve, { once: true }))
      location.hash = '#/sensors/roof/temperature'
      await changed
      // The address changes at once, but its event comes later: here when the first topic is
      // complete.
      history.pushState(null, '', '#/doc/readme')
    })
    await row(page, '/sensors/roof/temperature').waitFor()
    await page.evaluate(() => window.dispatchEvent(new HashChangeEvent('hashchange')))
    await page.locator('#page-entry').getByText('Each room is a log').waitFor({ timeout: 5000 })
  }))

  test('takes an address as it was written by hand, and says what is wrong with one that names no path', async () => {
    await writer.put('/doc/100%', 'all of it')
    await writer.put('/doc/a b', 'with a space')
    await writer.put('/doc/a#b', 'with a hash')
    const address = (page, hash) => page.evaluate((hash) => (location.hash = hash), hash)
    await withPage(async (page) => {
      await page.locator('#page-entry').getByText('all of it').waitFor()
      assert.equal(await page.evaluate(() => location.hash), '#/doc/100%25')
      const names = { '#/doc/a b': 'with a space', '#/doc/100%': 'all of it', '#/doc/a%20b': 'with a space', '#/doc/a%23b': 'with a hash', '#/doc/100%25': 'all of it' }
      for (const [hash, text] of Object.entries(names)) {
        await address(page, hash)
        await page.locator('#page-entry').getByText(text).waitFor()
      }
      assert.ok(await page.locator('#banner').isHidden())
      const faults = {
        '#doc': 'A path begins with /', '#/doc//a': 'A path has no empty segment', '#/doc/../a': 'A segment is not . or ..', '#/doc/%07': 'no control characters',
        [`#/${'p'.repeat(256)}`]: 'A segment has at most 255 bytes', [`#${'/é'.repeat(33)}`]: 'A path has at most 32 segments',
        [`#${`/${'é'.repeat(120)}`.repeat(5)}`]: 'A path has at most 1,024 bytes',
      }
      for (const [hash, fault] of Object.entries(faults)) {
        await address(page, hash)
        await page.locator('#banner').getByText(fault).waitFor()
        // What is shown stays, and the address says what that is.
        await page.locator('#page-entry').getByText('all of it').waitFor()
        assert.equal(await page.evaluate(() => location.hash), '#/doc/100%25')
      }
    }, {}, '#/doc/100%')
    await withPage((page) => page.locator('#banner').getByText('A path begins with /').waitFor(), {}, '#nowhere')
  })

  test('leaves the keys where they are while an entry changes', () => withPage(async (page) => {
    const follow = page.locator('#page-entry').getByRole('button', { name: 'Follow' })
    await follow.focus()
    for (let at = 0; at < 20; at++) await writer.put('/sensors/cellar/temperature', at)
    await page.locator('#page-entry pre.value').getByText('19').waitFor()
    assert.ok(await follow.evaluate((button) => button === document.activeElement))
    // This also holds when the entry disappears and comes back, and a button changes its text.
    await writer.remove('/sensors/cellar/temperature')
    await page.getByRole('button', { name: 'Put', exact: true }).waitFor()
    await writer.put('/sensors/cellar/temperature', 12.25)
    await page.getByRole('button', { name: 'Edit', exact: true }).waitFor()
    assert.ok(await follow.evaluate((button) => button === document.activeElement))
  }, {}, '#/sensors/cellar/temperature'))

  test('is used by the keyboard', () => withPage(async (page) => {
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve())
    const at = (path) => until(`${path} is chosen`, async () => (await selected(page)) === path, 5000)
    await at('/')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tree', 'it has the keys from the beginning')
    await press('ArrowDown')
    await at('/chat')
    await press('ArrowRight')
    await row(page, '/chat/rust').waitFor()
    assert.equal(await row(page, '/chat').getAttribute('aria-expanded'), 'true')
    await press('ArrowRight')
    await at('/chat/rust')
    await press('ArrowRight')
    await row(page, '/chat/rust/log').waitFor()
    await press('ArrowDown')
    await at('/chat/rust/log')
    // The tree tells screen readers which row is active.
    const active = await page.locator('#tree').getAttribute('aria-activedescendant')
    assert.equal(await page.locator(`#${active}`).getAttribute('data-path'), '/chat/rust/log')
    assert.equal(await page.locator(`#${active}`).getAttribute('aria-level'), '4')
    await press('ArrowLeft')
    await at('/chat/rust')
    await press('ArrowLeft', 'ArrowLeft')
    await at('/chat')
    await press('ArrowLeft')
    await row(page, '/chat/rust').waitFor({ state: 'detached' })
    await press('End')
    await at('/sensors')
    await press('Home')
    await at('/')
    await press('/')
    await page.keyboard.type('temp')
    await page.getByText('2 paths').waitFor()
    await press('ArrowDown')
    // The field tells screen readers which row is picked, and the list visibly gets the focus.
    await until('the second is picked', async () => (await page.getByRole('combobox', { name: 'Find a path' }).evaluate((field) =>
      document.getElementById(field.getAttribute('aria-activedescendant'))?.dataset.path)) === '/sensors/roof/temperature')
    assert.equal(await page.getByRole('option', { selected: true }).getAttribute('data-path'), '/sensors/roof/temperature')
    await press('Tab', 'Tab')
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('role')), 'listbox')
    assert.notEqual(await page.getByRole('option', { selected: true }).evaluate((option) => getComputedStyle(option).boxShadow), 'none')
    await press('Enter')
    await at('/sensors/roof/temperature')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tree', 'the keys are for what was found')
    await press('/')
    await page.keyboard.type('chat/*/members/**')
    await page.getByText('3 paths').waitFor()
    await press('Escape', '4')
    assert.ok(await page.locator('#page-health').isVisible())
    await press('?')
    await page.getByRole('heading', { name: 'Keys' }).waitFor()
    await press('Escape', 'Escape', 'End', 'Enter')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'page-entry')
  }))

  test('tells a reader of screens what is there, and shows where the keys are', () => withPage(async (page) => {
    // A dialog has a name. If it asks whether to delete, the focus is on a harmless button.
    await row(page, '/chat').click()
    for (const [key, name, first] of [['d', 'Delete?', 'Cancel'], ['e', 'New entry', ''], ['a', 'Append to a log', ''], ['n', 'New entry', '/'], ['?', 'Keys', 'Close']]) {
      await page.keyboard.press(key)
      await page.getByRole('dialog', { name }).waitFor()
      assert.equal(await page.evaluate(() => document.activeElement.value || document.activeElement.textContent), first, name)
      await page.keyboard.press('Escape')
      await page.locator('dialog').waitFor({ state: 'detached' })
    }
    // The tree names the active row only while that is in sight; otherwise the tree itself has the
    // outline.
    await writer.fill('/wide', 200)
    await row(page, '/wide').click()
    await page.keyboard.press('ArrowRight')
    await row(page, '/wide/item-000000').waitFor()
    const tree = page.locator('#tree')
    const marked = () => tree.evaluate((tree) => ({
      active: document.getElementById(tree.getAttribute('aria-activedescendant'))?.dataset.path,
      dangling: tree.hasAttribute('aria-activedescendant') && !document.getElementById(tree.getAttribute('aria-activedescendant')),
      outline: getComputedStyle(tree).outlineStyle !== 'none',
    }))
    assert.deepEqual(await marked(), { active: '/wide', dangling: false, outline: false })
    for (const far of [300, 4000]) {
      await tree.evaluate((tree, far) => (tree.scrollTop = far), far)
      await until('the tree has the outline', async () => (await marked()).outline)
      assert.deepEqual(await marked(), { active: undefined, dangling: false, outline: true }, `${far} down`)
    }
    await picture(page, 'scrolled-away-light')
    await page.keyboard.press('ArrowDown')
    await until('the row has it', async () => (await marked()).active === '/wide/item-000000')
    assert.equal((await marked()).outline, false)
  }))

  test('rolls the changes of a subtree', () => withPage(async (page) => {
    await row(page, '/sensors').click()
    await page.keyboard.press('f')
    await page.getByText('What changes from now on comes here').waitFor()
    await page.getByLabel('Signals').check()
    await page.getByText('What changes from now on comes here').waitFor()
    await page.getByText('0 changes').waitFor()
    for (let at = 0; at < 30; at++) await writer.put('/sensors/cellar/temperature', at)
    await writer.put('/config/elsewhere', 1)
    await page.getByText('30 changes').waitFor()
    await writer.signal('/sensors/cellar/knock', 'who is there')
    await page.getByText('who is there').waitFor()
    const lines = page.locator('.roll .row:not([hidden])')
    const values = await lines.locator('.value').allTextContents()
    const paths = await lines.locator('.path').allTextContents()
    assert.ok(values.includes('"who is there"') && values.includes('29'), values.join())
    assert.ok(paths.includes('/cellar/temperature'), paths.join())
    await page.getByRole('button', { name: 'Pause' }).click()
    await writer.put('/sensors/cellar/temperature', 'unseen')
    await page.getByText('32 changes').waitFor()
    assert.equal(await page.locator('.roll').getByText('unseen').count(), 0)
    await page.getByRole('button', { name: 'Go on' }).click()
    await page.locator('.roll').getByText('unseen').waitFor()
    await picture(page, 'changes-light')
  }))

  test('keeps of a change the line that it shows, not its value', () => withPage(async (page) => {
    const browser = await page.context().newCDPSession(page)
    const used = async () => {
      await browser.send('HeapProfiler.collectGarbage')
      return (await browser.send('Runtime.getHeapUsage')).usedSize
    }
    await page.keyboard.press('f')
    await page.getByText('0 changes').waitFor()
    const before = await used()
    // The tab is escaped in a frame, so the value is a copy and not a part of the frame's text,
    // which the heap's size does not count.
    await writer.run(async ({ client, Value }) => {
      for (let at = 0; at < 60; at++) await client.put('/large/one', Value.text(`\t${at} ${'x'.repeat(500_000)}`))
      await client.put('/large/one', 'small')
    })
    await page.getByText('61 changes').waitFor()
    await page.locator('.roll').getByText(`59 ${'x'.repeat(196)}…`).waitFor()
    const more = (await used()) - before
    assert.ok(more < 10_000_000, `${more} bytes more for 60 changes`)
  }, {}, '#/large'))

  test('shows sessions, with cursor and lag, and how it goes', () => withPage(async (page) => {
    await page.keyboard.press('3')
    const line = page.locator('.sessions details', { hasText: 'onetree console' }).first()
    await line.getByText('live').first().waitFor()
    await line.locator('summary').click()
    await line.locator('.mirrors').getByText('children').first().waitFor()
    assert.ok((await page.locator('.sessions details').count()) >= 2)
    await page.waitForTimeout(2500)
    assert.ok(await line.locator('.mirrors').isVisible(), 'what was opened stays so')
    await picture(page, 'sessions-light')
    // Even with a long description of what a mirror follows, its path is visible, and nothing is
    // cut.
    await writer.run(({ client }) => {
      client.mirror({ path: '/chat', match: [`**/${'q'.repeat(250)}`] })
    })
    const other = page.locator('.sessions details', { hasText: 'a test' }).first()
    await other.locator('summary').click()
    const mirror = other.locator('.mirror', { hasText: 'qqq' })
    await mirror.waitFor()
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 })
      assert.ok((await mirror.locator('code').boundingBox()).width > 30, `at ${width}`)
      assert.ok(await mirror.evaluate((line) => line.scrollWidth <= line.clientWidth), `at ${width}`)
    }
    await page.setViewportSize({ width: 1280, height: 800 })
    await page.keyboard.press('4')
    await writer.run(async ({ client }) => {
      for (let at = 0; at < 400; at++) await client.put('/sensors/busy', at)
    })
    const commits = page.locator('.chart', { hasText: 'Commits' }).first()
    await until('commits are counted', async () => /[1-9]/.test(await commits.locator('.now').textContent()))
    await until('latencies are told', async () => / (µs|ms)$/.test(await page.locator('.chart', { hasText: 'latency' }).locator('.now').textContent()))
    assert.match(await page.locator('.chart', { hasText: 'Memory' }).locator('.now').textContent(), /MB$/)
    assert.match(await commits.locator('path.line').getAttribute('d'), /L/, 'a line is drawn')
    await page.emulateMedia({ colorScheme: 'dark' })
    await picture(page, 'health-dark')
  }))
})

test('a hundred thousand entries under one topic do not freeze it', async (t) => {
  const many = 100_000
  const broker = await startBroker(await freePort())
  const writer = await openWriter(browser, broker)
  await writer.put('/small', 1)
  await writer.fill('/big', many)
  const { page, errors } = await openPage(browser, `${broker.url}/console/`)
  // The longest time between two frames, and the longest task, while `work` runs.
  const measure = async (work) => {
    await page.evaluate(() => {
      const seen = { frame: 0, task: 0, on: true }
      window.seen = seen
      let last = performance.now()
      const look = (now) => {
        seen.frame = Math.max(seen.frame, now - last)
        last = now
        if (seen.on) requestAnimationFrame(look)
      }
      requestAnimationFrame(look)
      new PerformanceObserver((list) => {
        for (const one of list.getEntries()) seen.task = Math.max(seen.task, one.duration)
      }).observe({ type: 'longtask' })
    })
    const began = Date.now()
    await work()
    await page.waitForTimeout(100)
    const { frame, task } = await page.evaluate(() => Object.assign(window.seen, { on: false }))
    return { ms: Date.now() - began, frame: Math.round(frame), task: Math.round(task) }
  }
  const size = () => row(page, '/big/item-000000').getAttribute('aria-setsize')
  let opened
  // Other load on the core makes it longer, and nothing makes it shorter in a page that has not
  // done it before.
  for (let tries = 3; tries > 0 && !(opened?.task < 150); tries--) {
    if (opened) await page.reload()
    await row(page, '/big').waitFor()
    await page.waitForTimeout(1000)
    const now = await measure(async () => {
      await twist(page, '/big')
      await until('all children are there', async () => (await row(page, '/big/item-000000').count()) === 1 && Number(await size()) === many, 60_000)
    })
    if (!(opened?.task < now.task)) opened = now
  }
  const inPage = await page.evaluate(() => document.querySelectorAll('#tree .row').length)
  assert.ok(inPage < 100, `${inPage} rows are in the page`)
  await page.locator('#tree').focus()
  const scrolled = await measure(async () => {
    for (let step = 0; step < 60; step++) {
      await page.mouse.move(200, 400)
      await page.mouse.wheel(0, step % 2 ? 4000 : 90_000)
      await page.waitForTimeout(16)
    }
    await page.keyboard.press('End')
    await until('the last row is chosen', async () => (await selected(page)) === '/small')
    await page.keyboard.press('ArrowUp')
    await row(page, `/big/item-0${many - 1}`).getByText(`"number ${many - 1}"`).waitFor()
  })
  const changed = await measure(async () => {
    await writer.run(async ({ client }) => {
      for (let round = 0; round < 20; round++) {
        await Promise.all(Array.from({ length: 50 }, (_, at) => client.put(`/big/item-${String(99_950 + at).padStart(6, '0')}`, { round })))
      }
      await client.put('/big/item-099999a', 'inserted')
      await client.delete('/big/item-000000')
    })
    await row(page, '/big/item-099999a').getByText('inserted').waitFor()
    await row(page, '/big/item-099999').getByText('"round":19').waitFor()
  })
  await picture(page, 'hundred-thousand')
  const searched = await measure(async () => {
    await page.keyboard.press('/')
    await page.keyboard.type('item-09123')
    await page.getByText('10 paths').waitFor()
  })
  for (const [what, { ms, frame, task }] of Object.entries({ opened, scrolled, changed, searched })) {
    t.diagnostic(`${what}: ${ms} ms, longest frame ${frame} ms, longest task ${task} ms`)
    // Seen while others waited for each core, too: 72 ms on opening, 168 ms otherwise; 240 to 540
    // ms on opening when all children were made in one piece.
    assert.ok(task < (what === 'opened' ? 150 : 300), `${what}: a task took ${task} ms`)
    assert.ok(frame < 600, `${what}: a frame took ${frame} ms`)
  }
  assert.deepEqual(errors, [])
  await page.context().close()
  await broker.stop()
})

test('brings into sight what the address says, however far down it is', async () => {
  const broker = await startBroker(await freePort())
  const writer = await openWriter(browser, broker)
  await writer.fill('/many', 3000)
  for (const hash of ['#/many/item-001777', '#/many/item-002999']) {
    const { page, errors, close } = await openPage(browser, `${broker.url}/console/${hash}`)
    await until('its row is in sight', () => page.evaluate((path) => {
      const tree = document.getElementById('tree').getBoundingClientRect()
      const box = document.querySelector(`#tree [data-path="${path}"]:not([hidden])`)?.getBoundingClientRect()
      return box !== undefined && box.top >= tree.top && box.bottom <= tree.bottom
    }, hash.slice(1)))
    assert.deepEqual(errors, [])
    await close()
  }
  await broker.stop()
})
