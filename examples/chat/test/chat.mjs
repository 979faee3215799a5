// The story, in headless Chromium: two pages and a terminal talk, one page loses its network, and all end up with the
// same messages.

import assert from 'node:assert/strict';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { Proxy } from './proxy.mjs';
import { ROOT, chromiumPath, missing, startExample, startTerminal } from './programs.mjs';

const lack = missing();
if (lack) {
  console.error(`cannot run: ${lack}`);
  process.exit(2);
}
const { chromium } = await import('playwright-core');
const SHOTS = `${ROOT}target/chat-shots`;
mkdirSync(SHOTS, { recursive: true });

const LINES = 2_000;
const { example, page: url, broker } = await startExample(['--replay', 'generate', '--speed', '100']);
const proxy = new Proxy(Number(new URL(broker).port));
const throughProxy = `ws://127.0.0.1:${await proxy.listen()}`;
const browser = await chromium.launch({ timeout: 60_000, executablePath: chromiumPath(), args: ['--no-sandbox'] });
const faults = [];
const people = [];
let terminal;
let far;
let short;

/** What a broken network makes the browser itself write. Everything else is an error of the chat. */
const OF_THE_NETWORK = /WebSocket connection to '[^']*' failed|ERR_CONNECTION_(RESET|REFUSED|CLOSED)|ERR_EMPTY_RESPONSE/;

/** Opens a window that shares nothing with others. */
async function person(name, { through, look = {}, hash = '', at = url } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...look });
  const page = await context.newPage();
  page.setDefaultTimeout(Number(process.env.TIMEOUT ?? 20_000));
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    if ((through || at !== url) && OF_THE_NETWORK.test(message.text())) return;
    faults.push(`${name}: ${message.text()} ${message.location().url}`);
  });
  page.on('pageerror', (error) => faults.push(`${name}: ${error.message} ${error.stack}`));
  if (through) await page.route('**/config.json', (route) => route.fulfill({ json: { broker: through } }));
  await page.goto(`${at}/${hash}`);
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await page.waitForSelector(`#here li:text-is("${name} (you)")`, { state: 'attached' });
  people.push(page);
  return page;
}

const say = async (page, text) => {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
};
const shown = (page) => page.$$eval('#messages li[data-key]', (all) => all.map((li) => li.querySelector('.text').textContent));
const pending = (page) => page.$$eval('#messages li.pending', (all) => all.length);
const keys = (page) => page.$$eval('#messages li[data-key]', (all) => all.map((li) => li.dataset.key));
const sees = (page, text) => until(page,
  (wanted) => [...document.querySelectorAll('#messages li:not(.pending) .text')].some((each) => each.textContent === wanted), text);
const shot = (page, name) => page.screenshot({ path: `${SHOTS}/${name}.png` });
const waitUntil = async (what, holds, timeout = 20_000) => {
  const end = Date.now() + timeout;
  while (!(await holds())) {
    if (Date.now() > end) assert.fail(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
/** As `waitForFunction`, which the page's policy forbids. */
const until = (page, holds, argument) => waitUntil(String(holds), () => page.evaluate(holds, argument));
const step = (text) => console.log(`- ${text}`);

try {
  step('two pages talk');
  const ada = await person('ada');
  await shot(ada, 'first');
  const grace = await person('grace', { through: throughProxy, look: { colorScheme: 'dark' } });
  await ada.waitForSelector('#here li:text-is("grace")');
  await say(ada, 'Good morning!');
  await sees(grace, 'Good morning!');
  await say(grace, '<b>not bold</b> &amp; 🌳');
  await sees(ada, '<b>not bold</b> &amp; 🌳');
  assert.equal(await ada.$$eval('#messages b b, #messages .text *', (all) => all.length), 0, 'text is shown as text');

  step('typing shows, and vanishes');
  await grace.type('#text', 'I am typ');
  await ada.waitForSelector('#typing:text-is("grace is typing…")');
  await shot(ada, 'typing');
  await waitUntil('typing vanishes', async () => (await ada.textContent('#typing')) === '', 8_000);
  await grace.fill('#text', '');

  step('the terminal takes part');
  terminal = startTerminal(broker, 'linus', 'lobby');
  await terminal.says(/ada: Good morning!/);
  await ada.waitForSelector('#here li:text-is("linus")');
  terminal.child.stdin.write('hello from a terminal\n/who\n');
  await sees(ada, 'hello from a terminal');
  await sees(grace, 'hello from a terminal');
  await terminal.says(/-- here: ada, grace, linus/);
  await say(ada, 'Welcome, linus.');
  await terminal.says(/ada: Welcome, linus\./);

  step('each line of a terminal is a message, however it ends; the end of a file is the end, when all of it is there');
  terminal.child.stdin.write('by a carriage\rreturn\r\nand\n');
  for (const text of ['by a carriage', 'return', 'and']) await sees(ada, text);
  await ada.fill('#text', 'two\nlines');
  await ada.press('#text', 'Enter');
  await terminal.says(/ada: two\n +lines\n/);
  const lines = Array.from({ length: 3_000 }, (_, i) => `line ${i}`);
  writeFileSync(`${SHOTS}/said.txt`, ['/join a-file', ...lines].join('\n'));
  const file = startTerminal(broker, 'radia', 'lobby', openSync(`${SHOTS}/said.txt`, 'r'));
  assert.equal(await file.ended, 0, file.output);
  assert.ok(!file.output.includes('not sent'), file.output);
  const pasted = await ada.evaluate(async (url) => {
    const { start } = await import('./onetree/index.js');
    const client = start(url);
    const mirror = client.mirror({ path: '/chat/a-file/log' });
    await mirror.fresh();
    const texts = [...mirror.entries()].map(({ value }) => value.content.text);
    await client.close();
    return texts;
  }, broker);
  assert.deepEqual(pasted, lines);

  step('one loses its network, and all write on');
  proxy.cut();
  await grace.waitForSelector('#banner:not([hidden])');
  const [adas, graces] = [[], []];
  for (let i = 0; i < 20; i += 1) {
    adas.push(`ada ${i}`);
    graces.push(`grace ${i}`);
    await say(ada, adas[i]);
    await say(grace, graces[i]);
  }
  terminal.child.stdin.write('and I\n');
  await sees(ada, 'ada 19');
  await sees(ada, 'and I');
  assert.equal(await pending(grace), 20, 'what is said offline shows at once, as waiting');
  assert.ok(!(await shown(grace)).includes('ada 0') && !(await shown(ada)).includes('grace 0'), 'the cut is a cut');
  await shot(grace, 'offline-dark');
  proxy.mend();
  // And again while things go on, a few times, at any point.
  for (const wait of [400, 300, 700]) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    proxy.cut();
    await say(grace, `between ${wait}`);
    graces.push(`between ${wait}`);
    proxy.mend();
  }
  await grace.waitForSelector('#banner', { state: 'hidden' });
  await waitUntil('grace has nothing waiting', async () => (await pending(grace)) === 0);
  await sees(ada, graces.at(-1));
  await waitUntil('both show the same', async () => String(await keys(ada)) === String(await keys(grace)));
  const both = await shown(ada);
  assert.deepEqual(await shown(grace), both, 'both show the same, in the same order');
  const wanted = ['Good morning!', '<b>not bold</b> &amp; 🌳', 'hello from a terminal', 'Welcome, linus.', 'by a carriage', 'return', 'and', 'two\nlines', ...adas, 'and I', ...graces];
  assert.deepEqual([...both].sort(), [...wanted].sort(), 'nothing is lost, nothing is there twice');
  assert.deepEqual(both.filter((text) => adas.includes(text)), adas, "in ada's order");
  assert.deepEqual(both.filter((text) => graces.includes(text)), graces, "in grace's order");
  await terminal.says(/grace: between 700/);
  for (const text of [...adas, ...graces]) assert.equal(terminal.output.split(`: ${text}\n`).length, 2, `the terminal prints '${text}' once`);
  await shot(ada, 'together');
  await shot(grace, 'together-dark');

  step('a page that is reloaded has the same, and one that had something waiting sends it once');
  await grace.reload();
  await until(grace, (n) => document.querySelectorAll('#messages li[data-key]').length === n, both.length);
  assert.deepEqual(await shown(grace), both);
  // The mirror is saved once a second.
  await grace.waitForTimeout(1_500);
  proxy.cut();
  await grace.waitForSelector('#banner:not([hidden])');
  await say(grace, 'said before the reload');
  await say(grace, 'and this too');
  await grace.reload();
  await grace.waitForSelector('#banner:not([hidden])');
  await waitUntil('all is there without a connection', async () => (await shown(grace)).length === both.length + 2);
  assert.deepEqual((await shown(grace)).slice(0, -2), both, 'what was kept is what was there');
  assert.equal(await pending(grace), 2);
  await shot(grace, 'kept-dark');
  proxy.mend();
  await sees(ada, 'and this too');
  await waitUntil('nothing waits', async () => (await pending(grace)) === 0);
  await waitUntil('both show the same', async () => String(await keys(ada)) === String(await keys(grace)));
  assert.deepEqual((await shown(grace)).slice(-2), ['said before the reload', 'and this too']);
  assert.equal((await shown(grace)).length, both.length + 2);

  step('what arrived, but whose answer was lost, is there once: after a cut, and after a reload');
  const now = await shown(grace);
  proxy.deafen();
  await say(grace, 'answered by nobody');
  await sees(ada, 'answered by nobody');
  assert.equal(await pending(grace), 1);
  proxy.cut();
  proxy.mend();
  await sees(grace, 'answered by nobody');
  proxy.deafen();
  await say(grace, 'answered by nobody, and reloaded');
  await sees(ada, 'answered by nobody, and reloaded');
  assert.equal(await pending(grace), 1);
  proxy.cut();
  await grace.reload();
  proxy.mend();
  await sees(grace, 'answered by nobody, and reloaded');
  await waitUntil('nothing waits', async () => (await pending(grace)) === 0);
  await say(grace, 'and on');
  await sees(ada, 'and on');
  for (const page of [ada, grace]) {
    await sees(page, 'and on');
    assert.deepEqual(await shown(page), [...now, 'answered by nobody', 'answered by nobody, and reloaded', 'and on']);
  }

  step('what is still on its way when its page has gone and come again is there once');
  const then = await shown(grace);
  proxy.hold();
  await say(grace, 'the long way round');
  await grace.reload();
  await sees(ada, 'the long way round');
  await waitUntil('nothing waits', async () => (await pending(grace)) === 0);
  await proxy.release();
  await say(ada, 'nothing is behind this');
  for (const page of [ada, grace]) {
    await sees(page, 'nothing is behind this');
    assert.deepEqual(await shown(page), [...then, 'the long way round', 'nothing is behind this']);
  }

  step('a terminal loses its network, is still spoken to, and tells what it missed');
  far = startTerminal(throughProxy, 'alan', 'lobby');
  await ada.waitForSelector('#here li:text-is("alan")');
  await far.says(/nothing is behind this/);
  proxy.cut();
  await far.says(/-- no connection/);
  far.child.stdin.write('said without a connection\n/join elsewhere\nand there\n/who\n/join lobby\n');
  await far.says(/#elsewhere, as alan[^]*-- here:[^]*#lobby, as alan/);
  proxy.mend();
  await far.says(/connected again/);
  await sees(ada, 'said without a connection');
  await ada.waitForSelector('#here li:text-is("alan")');
  proxy.cut();
  await far.says(/connected again[^]*-- no connection/);
  for (let i = 0; i < 30; i += 1) await say(ada, `much ${i}`);
  await sees(ada, 'much 29');
  // Some attempts to connect.
  await ada.waitForTimeout(3_000);
  assert.equal(far.output.split('-- no connection').length, 3, 'each loss is told once');
  proxy.mend();
  await far.says(/-- more was said[^]*ada: much 29/);
  assert.ok(!far.output.includes('ada: much 0\n'));
  // Anybody may say anything.
  await ada.evaluate(async (url) => {
    const { start } = await import('./onetree/index.js');
    const client = start(url);
    await client.append('/chat/lobby/log', { id: [], from: {}, text: 'of no known form', at: [] });
    await client.close();
  }, broker);
  await say(ada, 'and of ours');
  await far.says(/of no known form[^]*ada: and of ours/);
  await terminal.says(/of no known form[^]*ada: and of ours/);
  far.child.stdin.write('/quit\n');
  assert.equal(await far.ended, 0);
  assert.ok(!far.output.includes('Traceback'), far.output);
  await ada.waitForSelector('#here li:text-is("alan")', { state: 'detached' });
  await grace.waitForSelector('#banner', { state: 'hidden' });

  step('presence vanishes with who leaves');
  terminal.child.stdin.write('/quit\n');
  assert.equal(await terminal.ended, 0);
  await ada.waitForSelector('#here li:text-is("linus")', { state: 'detached' });

  step('channels count what was not read');
  await example.says(/all of the log has been played/, 60_000);
  await ada.waitForSelector('#channels a:has(.name:text-is("ubuntu")) .count');
  await ada.press('#text', 'Alt+ArrowDown');
  await ada.waitForSelector('#title:text-is("#ubuntu")');
  await until(ada, () => document.querySelectorAll('#messages li[data-key]').length >= 100);
  await until(ada, () => !document.querySelector('#channels a[aria-current] .count'));
  await grace.waitForSelector('#here li:text-is("ada")', { state: 'detached' });
  await shot(ada, 'ubuntu');
  await say(grace, 'Are you still there?');
  await ada.waitForSelector('#channels a:has(.name:text-is("lobby")) .count:text-is("1")');

  step('history: page by page to the beginning, and back to the end');
  const seen = new Set(await keys(ada));
  await waitUntil('the beginning', async () => {
    await ada.$eval('#scroll', (scroll) => { scroll.scrollTop = 0; });
    await new Promise((resolve) => setTimeout(resolve, 60));
    const now = await keys(ada);
    assert.ok(now.length <= 300, `${now.length} messages in the page at once`);
    assert.deepEqual(now, [...now].sort(), 'the order of the log');
    for (const key of now) seen.add(key);
    return (await ada.textContent('#more')) === 'This is the beginning.';
  }, 60_000);
  for (const key of await keys(ada)) seen.add(key);
  assert.equal(seen.size, LINES, 'each message of the log was shown');
  await shot(ada, 'beginning');
  const back = new Set();
  await waitUntil('the end', async () => {
    for (const key of await keys(ada)) back.add(key);
    await ada.$eval('#scroll', (scroll) => { scroll.scrollTop = scroll.scrollHeight; });
    await new Promise((resolve) => setTimeout(resolve, 60));
    return ada.$eval('#latest', (button) => button.hidden);
  }, 60_000);
  for (const key of await keys(ada)) back.add(key);
  assert.equal(back.size, LINES, 'and again on the way back');

  step('an address that cannot be read is no blank page, and a command that is none is not said aloud');
  const lost = await person('donald', { hash: '#/100%' });
  await lost.waitForSelector('#title:text-is("#lobby")');
  await lost.evaluate(() => { location.hash = '#/ubuntu'; });
  await lost.waitForSelector('#title:text-is("#ubuntu")');
  await lost.evaluate(() => { location.hash = '#/%E0'; });
  await lost.waitForSelector('#title:text-is("#lobby")');
  const said = await shown(lost);
  for (const [text, fault] of [['/jion rust', 'There is no command /jion'], ['/join', '/join takes a channel'], ['/join a b', '/join takes a channel']]) {
    await say(lost, text);
    await lost.waitForSelector(`#fault:has-text("${fault}")`);
    assert.equal(await lost.inputValue('#text'), text, 'it is there to be mended');
  }
  await shot(lost, 'no-command');
  await lost.emulateMedia({ colorScheme: 'dark' });
  await lost.setViewportSize({ width: 390, height: 780 });
  await lost.waitForTimeout(300);
  await shot(lost, 'no-command-dark');
  await lost.fill('#text', '/');
  await lost.waitForSelector('#fault', { state: 'hidden' });
  await say(lost, '/ is a path, and so is /a/b');
  await sees(lost, '/ is a path, and so is /a/b');
  assert.deepEqual(await shown(lost), [...said, '/ is a path, and so is /a/b']);
  await say(lost, '/join ubuntu');
  await lost.waitForSelector('#title:text-is("#ubuntu")');
  await lost.close({ runBeforeUnload: true });

  step('a telephone');
  const phone = await person('radia', { look: { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }, hash: '#/ubuntu' });
  await until(phone, () => document.querySelectorAll('#messages li[data-key]').length >= 100);
  await shot(phone, 'phone');
  await phone.click('#menu');
  await phone.waitForTimeout(300);
  await shot(phone, 'phone-channels');
  await phone.close({ runBeforeUnload: true });
  await ada.waitForSelector('#here li:text-is("radia")', { state: 'detached' });

  step('a broker that comes again without what it had: pages show what there is now, and what was said meanwhile');
  short = await startExample([]);
  const barbara = await person('barbara', { at: short.page });
  const edsger = await person('edsger', { at: short.page });
  const talk = async (texts) => {
    for (const [i, text] of texts.entries()) {
      await say([barbara, edsger][i % 2], text);
      for (const page of [barbara, edsger]) await sees(page, text);
    }
  };
  await talk(['old 1', 'old 2', 'old 3', 'old 4']);
  await edsger.evaluate(() => { location.hash = '#/side'; });
  await say(edsger, 'old and aside');
  await barbara.waitForSelector('#channels a:has(.name:text-is("side")) .count:text-is("1")');
  await edsger.evaluate(() => { location.hash = '#/lobby'; });
  await barbara.press('#text', 'Alt+ArrowDown');
  await barbara.waitForSelector('#title:text-is("#side")');
  await sees(barbara, 'old and aside');
  await until(barbara, () => !document.querySelector('#channels .count'));
  await barbara.press('#text', 'Alt+ArrowUp');
  await sees(barbara, 'old 4');
  await short.example.stop();
  await barbara.waitForSelector('#banner:not([hidden])');
  // The last of them has a key, and so a path, that another message had.
  const alone = ['said to nobody', 'and this', 'and this too'];
  for (const text of alone) await say(barbara, text);
  short = await startExample([], { page: new URL(short.page).port, broker: new URL(short.broker).port });
  for (const page of [barbara, edsger]) for (const text of alone) await sees(page, text);
  assert.equal(await pending(barbara), 0);
  await talk(['new 1', 'new 2', 'new 3', 'new 4', 'new 5']);
  for (const page of [barbara, edsger]) {
    assert.deepEqual(await shown(page), [...alone, 'new 1', 'new 2', 'new 3', 'new 4', 'new 5']);
  }
  await edsger.evaluate(() => { location.hash = '#/side'; });
  await say(edsger, 'new and aside');
  await barbara.waitForSelector('#channels a:has(.name:text-is("side")) .count:text-is("1")');

  assert.deepEqual(faults, [], "the browser's log");
  console.log(`all is well; screenshots: target/chat-shots`);
} catch (error) {
  console.error(error);
  for (const [i, page] of people.entries()) if (!page.isClosed()) await shot(page, `failed-${i}`).catch(() => {});
  if (faults.length) console.error(`the browser's log:\n${faults.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  for (const each of [terminal, far]) if (each && each.child.exitCode === null) await each.stop('SIGKILL');
  proxy.close();
  for (const each of [example, short?.example]) await each?.stop();
}
