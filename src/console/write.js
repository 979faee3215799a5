// Changes the tree: put, append, delete.

import { ask, field } from './dialog.js'
import { h } from './dom.js'
import { Drafts } from './drafts.js'
import { bytes, count } from './format.js'
import { fromHex, toHex } from './hex.js'
import { raw, typed } from './link.js'
import { faultOf } from './paths.js'
import { indented, isJson, isText, oneLine, textOf } from './pretty.js'
import { spelled } from './spell.js'

const TYPES = ['application/json', 'text/plain', 'text/markdown', 'application/octet-stream']
// At most this many entries are counted before "everything under it" is deleted.
const COUNTED = 1000
// A longer value is not put into a field for editing.
const EDITED = 1_000_000
// The same for bytes in hex: nobody edits more by hand.
const EDITED_BYTES = 16_384
// Tells the user, when there is something to look at first, that closing the dialog loses nothing.
const STAYS = 'What you typed stays, and is here again when you come back.'

/** The work of the buttons. `changed(path)` is called with what was changed. */
export class Write {
  #link
  #changed
  #drafts = new Drafts()

  constructor(link, changed) {
    this.#link = link
    this.#changed = changed
  }

  /** Puts a value at `path`, over `entry` if one is given. Without `path` the user types one. */
  async put(path, entry) {
    const fresh = path === undefined
    const where = fresh && h('input', { class: 'mono', spellcheck: 'false', autofocus: true })
    // Set the property and not the attribute: with the attribute, the user's text would go in front
    // of it.
    if (fresh) where.value = '/'
    const value = valueFields(entry?.value, !fresh)
    const only = h('input', { type: 'checkbox', checked: true })
    const ttl = h('input', { type: 'number', min: '1', step: '1', placeholder: 'never' })
    const condition = entry
      ? `Only if it is still at revision ${count(entry.rev)}`
      : 'Only if there is nothing yet'
    const holds = this.#history(STAYS)
    const work = async () => {
      const at = fresh ? checked(where.value) : path
      const options = {}
      if (only.checked) {
        holds()
        options.ifRev = entry?.rev ?? 0
      }
      if (ttl.value) options.ttlMs = Math.round(Number(ttl.value) * 1000)
      try {
        await this.#link.put(at, await value.read(), options)
      } catch (error) {
        throw told(error, `Someone has changed it meanwhile. Cancel to look at it, or take the condition away to overwrite it. ${STAYS}`)
      }
      return at
    }
    return this.#ask(`put ${path ?? ''}`, entry ? 'Edit' : 'New entry', [
      fresh ? field('Path', where) : placed(path), ...value.fields,
      h('div', { class: 'pair' }, field('Expires after seconds', ttl), h('label', { class: 'check' }, only, condition)),
      entry && h('p', { class: 'muted' }, 'An expiry that the entry has, or an owner with whom it goes, ends with this put.'),
    ], { text: entry ? 'Save' : 'Put', work })
  }

  /** Appends to the log at `path`. */
  async append(path) {
    const where = h('input', { value: path, class: 'mono', spellcheck: 'false' })
    const value = valueFields(undefined, true)
    const work = async () => {
      const at = checked(where.value)
      const done = await this.#link.append(at, await value.read(), {})
      return done.paths?.[0] ?? at
    }
    return this.#ask(`append ${path}`, 'Append to a log', [field('Log', where), ...value.fields], { text: 'Append', work })
  }

  /** Deletes the entry at `path`, or everything there, after asking the user. */
  async remove(path, entry) {
    const page = await this.#link.list({ path, depth: 'tree', limit: COUNTED, values: false })
    const under = page.entries.filter((one) => one.path !== path).length
    const many = `${count(under)}${page.more ? ' or more' : ''} ${under === 1 ? 'entry' : 'entries'}`
    const all = h('input', { type: 'checkbox', checked: !entry && under > 0, disabled: !entry || under === 0 })
    const later = h('input', { type: 'checkbox' })
    if (!entry && under === 0) {
      return ask('Delete', h('p', {}, 'There is nothing at this path and nothing under it.'))
    }
    const holds = this.#history()
    const work = async () => {
      if (!later.checked) holds()
      try {
        // Delete what was counted, and nothing that was written since, unless the user wants that
        // too.
        if (all.checked) await this.#link.drop(path, later.checked ? {} : { ifRev: page.rev })
        else await this.#link.remove(path, { ifRev: entry.rev })
      } catch (error) {
        throw told(error, 'Someone has changed it meanwhile. Cancel, and look at it.')
      }
      return path
    }
    return this.#ask(`delete ${path}`, 'Delete?', [
      placed(path),
      entry && h('p', { class: 'preview muted mono' }, oneLine(entry.value)),
      under > 0 && h('label', { class: 'check' }, all, `And everything under it: ${many}`),
      under > 0 && h('label', { class: 'check' }, later, 'Also what is written there until then'),
      h('p', { class: 'muted' }, 'This cannot be undone.'),
    ], { text: 'Delete', kind: 'danger', work })
  }

  /**
   * Returns a function that throws if the broker has begun another history since: it may have
   * something else at the same revision.
   */
  #history(more = '') {
    const { histories } = this.#link
    return () => {
      if (this.#link.histories === histories) return
      throw new Error(`The broker has another history now. Cancel, and look at what is there.${more && ` ${more}`}`)
    }
  }

  /**
   * Opens a dialog. `work` returns the path to go to. What is typed is kept at `place` until the
   * work is done.
   */
  async #ask(place, title, content, { work, ...button }) {
    const why = () => (this.#link.online ? 'The broker has not answered yet.' : 'It waits for the connection.')
    const waits = () => `${why()} Cancel closes this, but takes nothing back: it may still be done.`
    const doing = async () => {
      const at = await work()
      this.#drafts.done(place)
      return at
    }
    const path = await ask(title, [this.#drafts.open(place, content), ...content], { ...button, work: doing, waits })
    if (path !== undefined) this.#changed(path)
  }
}

/**
 * Fields for a type, and for a text, bytes in hex or a file. `read()` returns the value, or throws
 * what is wrong with it.
 */
function valueFields(value, first) {
  const type = value?.type ?? 'application/json'
  const kind = h('select', {}, [...new Set([type, ...TYPES])].map((one) => h('option', { value: one, selected: one === type }, one)))
  const area = h('textarea', { spellcheck: 'false', autofocus: first, 'aria-label': 'Value' })
  const file = h('input', { type: 'file' })
  const note = h('p', { class: 'muted' })
  // If the value is too long, the field stays empty.
  const shown = value && shownOf(value)
  area.value = shown ?? ''
  // The field may change the line ends.
  const untouched = area.value
  // The content of the field stays text or hex when another type is chosen. For a new value the
  // type decides.
  const isHex = () => (value ? textOf(value) === undefined : !isText(kind.value))
  const explain = () => {
    const [chosen] = file.files
    area.disabled = chosen !== undefined
    note.textContent = chosen ? `The value will be the ${bytes(chosen.size)} of ${chosen.name}.`
      : value && shown === undefined ? `It has ${bytes(value.bytes.length)}, too much to be edited here: choose a file.`
      : isHex() ? 'Bytes, each as two hexadecimal digits; or choose a file.' : ''
    note.hidden = note.textContent === ''
  }
  for (const input of [kind, file]) input.addEventListener('change', explain)
  explain()
  const read = async () => {
    const [chosen] = file.files
    if (chosen) return raw(kind.value, new Uint8Array(await chosen.arrayBuffer()))
    // An untouched value is put unchanged. If it becomes JSON, it must be valid.
    if (value && area.value === untouched && (!isJson(kind.value) || isJson(type))) return raw(kind.value, value.bytes)
    if (isHex()) return raw(kind.value, fromHex(area.value))
    if (isJson(kind.value)) {
      try {
        JSON.parse(area.value)
      } catch (error) {
        throw new Error(`That is not JSON: ${error.message}`)
      }
    }
    return typed(kind.value, isJson(kind.value) ? area.value.trim() : area.value)
  }
  return { fields: [field('Value', area), note, h('div', { class: 'pair' }, field('Type', kind), field('From a file', file))], read }
}

/** Returns a value in a form that can be edited; nothing if it is too large. */
function shownOf(value) {
  const text = textOf(value)
  if (text === undefined) return value.bytes.length > EDITED_BYTES ? undefined : toHex(value.bytes)
  if (text.length > EDITED) return undefined
  return isJson(value.type) && text.length < 100_000 ? indented(text) : text
}

/** The path that a dialog is about. */
const placed = (path) => h('p', { class: 'where long' }, h('span', {}, spelled(path)))

function checked(path) {
  const fault = faultOf(path)
  if (fault) throw new Error(`${fault}.`)
  return path
}

const told = (error, conflict) => (error.code === 'conflict' ? new Error(conflict) : error)
