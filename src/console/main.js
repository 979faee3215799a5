// The console: connects its parts.

import { Banner } from './banner.js'
import { ChangesPage } from './changes.js'
import { byId } from './dom.js'
import { EntryPage } from './entry.js'
import { Health } from './health.js'
import { help, keys } from './keys.js'
import { Link } from './link.js'
import { faultOf } from './paths.js'
import { Search } from './search.js'
import { SessionsPage } from './sessions.js'
import { Stats } from './stats.js'
import { Tabs } from './tabs.js'
import { theme } from './theme.js'
import { Tree } from './tree.js'
import { TreeView } from './tree-view.js'
import { Write } from './write.js'

theme(byId('theme'))
const link = new Link()
const banner = new Banner(link)
link.onMirror((key, event) => banner.mirror(key, event))
const stats = new Stats(link)
const tree = new Tree(link)

const entry = new EntryPage(byId('page-entry'), link, act)
const changes = new ChangesPage(byId('page-changes'), link, { size: () => stats.last?.bytes ?? 0, pick: go })
const sessions = new SessionsPage(byId('page-sessions'), link)
new Health(byId('page-health'), byId('meters'), stats)
const tabs = new Tabs(byId('tabs'), (name) => name === 'sessions' && sessions.look())
const write = new Write(link, (path) => {
  tree.touch(path)
  if (path !== view.selected) go(path)
})
const view = new TreeView(byId('tree'), tree, link, { pick: picked, act })
const search = new Search(link, { form: byId('find'), input: byId('query'), found: byId('found'), tree: byId('tree'), pick: go })

/** Called when a row of the tree is chosen. */
function picked(path) {
  entry.show(path)
  const hash = `#${encodeURI(path)}`
  if (location.hash !== hash) history.replaceState(null, '', hash)
}

/** Goes to a path, from anywhere on the page. */
function go(path) {
  view.show(path)
  if (tabs.now !== 'tree' && tabs.now !== 'changes') tabs.open('entry')
}

/** Does what a key or a button does with a path. */
async function act(letter, path) {
  try {
    // In a narrow window the tree hides the page of the entry that is chosen in it.
    if (letter === 'Enter' || (letter === 'click' && tabs.now === 'tree')) {
      tabs.open('entry')
      byId('page-entry').focus()
    } else if (letter === 'e') {
      // Edit what is shown: the condition of the put is about its revision.
      await write.put(path, entry.path === path ? entry.entry : await link.get(path))
    } else if (letter === 'n') {
      await write.put()
    } else if (letter === 'a') {
      await write.append(path)
    } else if (letter === 'd') {
      if (!link.online) throw new Error('Without a connection it cannot be told what would be deleted.')
      await write.remove(path, await link.get(path))
    } else if (letter === 'f') {
      changes.follow(path)
      tabs.open('changes')
    }
  } catch (error) {
    banner.fault(error)
  }
}

/** Shows the tree and focuses `part`. In a narrow window the tree is a page of its own. */
function toTree(part) {
  if (!byId('pane-tree').checkVisibility()) tabs.open('tree')
  part.focus()
}

const onSelected = (letter) => () => act(letter, view.selected)
keys({
  '/': () => toTree(search), e: onSelected('e'), a: onSelected('a'), d: onSelected('d'), f: onSelected('f'), n: onSelected('n'),
  1: () => tabs.open('entry'), 2: () => tabs.open('changes'), 3: () => tabs.open('sessions'), 4: () => tabs.open('health'),
  t: () => byId('theme').click(), '?': help, Escape: () => toTree(view),
})
byId('new').addEventListener('click', onSelected('n'))
byId('help').addEventListener('click', help)

/** Returns the path in the page's address. If that is no path, shows why, and returns nothing. */
function fromAddress() {
  let path = location.hash.slice(1) || '/'
  try {
    path = decodeURIComponent(path)
  } catch {
    // An address written by hand, such as `#/100%`, stands for itself.
  }
  const fault = faultOf(path)
  if (!fault) return path
  banner.fault(new Error(`The address names no path: ${fault}.`))
}
window.addEventListener('hashchange', () => {
  const path = fromAddress() ?? view.selected
  if (path === view.selected) picked(path)
  else go(path)
})
view.show(fromAddress() ?? '/')
// A narrow window shows one page: the one that the address names, otherwise the tree.
if (view.selected === '/') toTree(view)
else view.focus()
