// Another client that writes: the JavaScript client, in a page of its own that shows nothing. So
// these tests need no other client, and their writes go the same way as every page's.

/**
 * Opens a writer. `run(fn, argument)` runs `fn({client, Value}, argument)` there and returns its
 * result.
 */
export async function openWriter(browser, broker) {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(`${broker.url}/healthz`)
  await page.evaluate(async (url) => {
    const { connect, Value } = await import('/console/onetree/index.js')
    window.onetree = { client: await connect(url, { agent: 'a test' }), Value }
  }, broker.ws)
  const run = (work, argument) => page.evaluate(`(${work})(window.onetree, ${JSON.stringify(argument)})`)
  return {
    run,
    put: (path, json) => run(({ client }, { path, json }) => client.put(path, json), { path, json }),
    append: (path, json) => run(({ client }, { path, json }) => client.append(path, json), { path, json }),
    drop: (path) => run(({ client }, path) => client.dropTree(path), path),
    remove: (path) => run(({ client }, path) => client.delete(path), path),
    signal: (path, json) => run(({ client }, { path, json }) => client.signal(path, json), { path, json }),
    get: (path) => run(async ({ client }, path) => {
      const entry = await client.get(path)
      return entry && { rev: entry.rev, type: entry.value.type, text: entry.value.text }
    }, path),
    seed: () => run(seed),
    fill: (topic, many) => run(fill, { topic, many }),
    close: () => context.close(),
  }
}

/** Writes topics of every kind. */
async function seed({ client, Value }) {
  await client.put('/config/theme', { dark: true, accent: '#1c7059', sizes: [12, 13, 15], see: '/doc/readme' })
  await client.put('/config/limits', { rooms: 200, rate: 12.5, open: null })
  await client.put('/doc/readme', Value.of('text/markdown', new TextEncoder().encode('# Rooms\n\nEach room is a log under /chat/ROOM/log.\n')))
  await client.put('/doc/logo', Value.of('image/png', Uint8Array.from({ length: 300 }, (_, at) => (at * 7) % 256)))
  await client.put('/chat/rust', { title: 'Rust', topic: 'borrowing, mostly' })
  await client.put('/chat/rust/members/ada', { since: '2026-11-25' })
  await client.put('/chat/rust/members/grace', { since: '2026-11-24' })
  for (let at = 0; at < 12; at++) await client.append('/chat/rust/log', { from: at % 2 ? 'ada' : 'grace', text: `message ${at}` })
  await client.put('/chat/tree/members/linus', { since: '2026-11-20' })
  await client.put('/sensors/roof/temperature', 21.5)
  await client.put('/sensors/roof/humidity', 0.43)
  await client.put('/sensors/cellar/temperature', 12.25)
  await client.put('/exact', Value.of('application/json', new TextEncoder().encode('{"number":12345678901234567890.10,"text":"<b>not markup</b>"}')))
}

/** Writes this many entries under one topic. */
async function fill({ client }, { topic, many }) {
  const waiting = []
  for (let at = 0; at < many; at++) {
    waiting.push(client.put(`${topic}/item-${String(at).padStart(6, '0')}`, { at, name: `number ${at}` }))
    if (waiting.length === 500) await Promise.all(waiting.splice(0))
  }
  await Promise.all(waiting)
}
