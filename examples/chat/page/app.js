// Connects the chat with the page.

import { Chat } from './chat.js';
import { channelIn, channelOf, nameFault } from './names.js';
import { keepInIndexedDB } from './onetree/keep-indexeddb.js';
import { Pane } from './pane.js';

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const here = () => channelIn(location.hash) ?? 'lobby';
const to = (channel) => `#/${encodeURIComponent(channel)}`;

const { broker } = await (await fetch('config.json')).json();
const name = sessionStorage.getItem('chat.name') ?? await ask();
const pane = new Pane($('scroll'), $('messages'));
const chat = new Chat({
  broker, name, channel: here(), changed: () => soon(), isFollowing: () => pane.following, keep: keepInIndexedDB('chat'),
});
let drawing = 0;
draw();
$('text').focus();

/** Asks for the person's name. It belongs to this tab: two tabs are two people. */
function ask() {
  const names = ['ada', 'grace', 'edsger', 'barbara', 'alan', 'radia', 'donald', 'frances'];
  $('name').value = `${names[Math.floor(Math.random() * names.length)]}${Math.floor(Math.random() * 90) + 10}`;
  $('who').showModal();
  $('name').select();
  $('who').addEventListener('cancel', (event) => event.preventDefault());
  return new Promise((resolve) => {
    $('who-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const chosen = $('name').value.trim();
      $('who-fault').textContent = nameFault(chosen);
      if (nameFault(chosen)) return;
      sessionStorage.setItem('chat.name', chosen);
      $('who').close();
      resolve(chosen);
    });
  });
}

// Drawing: at most once a frame, and everything that may have changed.

function soon() {
  if (drawing) return;
  // A page in the background has no frames, but its title still shows what has come.
  const later = document.hidden ? (draw) => setTimeout(draw, 250) : requestAnimationFrame;
  drawing = later(() => {
    drawing = 0;
    draw();
  });
}

function draw() {
  pane.draw(chat.messages(), chat.name, chat.timeline.atEnd);
  if (pane.following && !document.hidden && document.hasFocus()) chat.haveRead();
  drawSide();
  drawBanner();
  $('title').textContent = `#${chat.channel}`;
  $('latest').hidden = pane.following;
  $('more').textContent = more();
  const typists = chat.typists();
  const verb = typists.length === 1 ? 'is' : 'are';
  $('typing').textContent = typists.length > 3 ? 'Several people are typing…' : typists.length ? `${typists.join(', ')} ${verb} typing…` : '';
  $('text').placeholder = `Message #${chat.channel}`;
}

function more() {
  const { entries, loading, atStart } = chat.timeline;
  if (entries.length === 0) return chat.begun && chat.messages().length === 0 ? 'Nothing has been said here yet.' : '';
  return loading ? 'Loading…' : atStart ? 'This is the beginning.' : '';
}

function drawSide() {
  const channels = chat.channels();
  $('channels').replaceChildren(...channels.map(({ name: channel, unread }) => {
    const [item, link, hash, word] = ['li', 'a', 'span', 'span'].map((tag) => document.createElement(tag));
    link.href = to(channel);
    if (channel === chat.channel) link.setAttribute('aria-current', 'page');
    hash.className = 'hash';
    hash.textContent = '#';
    word.className = 'name';
    word.textContent = channel;
    link.append(hash, word);
    if (unread > 0) {
      const count = document.createElement('span');
      count.className = 'count';
      count.textContent = unread >= 100 ? '99+' : String(unread);
      count.setAttribute('aria-label', `${unread} unread`);
      link.append(count);
    }
    item.append(link);
    return item;
  }));
  $('here').replaceChildren(...chat.here().map((who) => {
    const item = document.createElement('li');
    item.textContent = who === chat.name ? `${who} (you)` : who;
    return item;
  }));
  $('me').textContent = `You are ${chat.name}`;
  const unread = channels.reduce((sum, channel) => sum + channel.unread, 0);
  document.title = `${unread ? `(${unread >= 100 ? '99+' : unread}) ` : ''}#${chat.channel}`;
}

function drawBanner() {
  const { status, error } = chat.client;
  const waiting = chat.outbox.all.filter(({ failed }) => failed === undefined).length;
  const messages = waiting === 1 ? '1 message waits' : `${waiting} messages wait`;
  document.body.classList.toggle('offline', status !== 'online');
  $('banner').hidden = status === 'online' || (status === 'connecting' && !chat.begun);
  $('banner').textContent = status === 'ended'
    ? `The chat has ended: ${error?.message ?? 'it was closed'}. Reload the page to go on.`
    : `No connection; trying again. You can read and write on${waiting ? `: ${messages}` : ''}.`;
  $('status').textContent = status === 'online' ? (chat.mirror.isFresh ? '' : 'catching up…') : status;
}

// The actions of the reader.

addEventListener('hashchange', () => {
  if (here() === chat.channel) return;
  pane.clear();
  chat.enter(here());
  showSide(false);
  $('text').focus();
});
addEventListener('focus', soon);
document.addEventListener('visibilitychange', soon);
addEventListener('pagehide', () => chat.leave());
// The page comes from the browser's cache of pages, and its client has left.
addEventListener('pageshow', (event) => event.persisted && location.reload());

$('scroll').addEventListener('scroll', async () => {
  const { scrollTop, scrollHeight, clientHeight } = $('scroll');
  const far = 200;
  if (scrollTop < far && await turn(chat.timeline.earlier())) return;
  if (scrollHeight - scrollTop - clientHeight < far) await turn(chat.timeline.later());
  soon();
});

/** Loads a page of messages: shows that it is coming, and draws it. @param {Promise<boolean>} page */
async function turn(page) {
  if (chat.timeline.loading) soon();
  const came = await page;
  if (came) soon();
  return came;
}

$('latest').addEventListener('click', newest);
function newest() {
  if (!chat.timeline.atEnd) chat.timeline.newest();
  pane.following = true;
  draw();
  pane.toEnd();
}

$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (text === '') return;
  // A text that only begins like a path is said.
  const [, word, rest] = /^\/(\w+)(?:\s+(.*))?$/s.exec(text) ?? [];
  if (word) {
    const channel = word === 'join' ? channelOf(rest ?? '') : undefined;
    fault(channel ? '' : word === 'join' ? '/join takes a channel: letters, digits, _ and -.' : `There is no command /${word}; /join CHANNEL is one.`);
    if (!channel) return;
    location.hash = to(channel);
  } else {
    newest();
    chat.say(text);
  }
  $('text').value = '';
  grow();
});
$('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('say').requestSubmit();
});
$('text').addEventListener('input', () => {
  grow();
  fault('');
  if ($('text').value.trim() !== '') chat.type();
});
/** Shows what is wrong with the text in the field, which stays there. @param {string} text */
function fault(text) {
  $('fault').textContent = text;
  $('fault').hidden = text === '';
}
function grow() {
  $('text').style.height = 'auto';
  $('text').style.height = `${$('text').scrollHeight + 2}px`;
}

$('open').addEventListener('submit', (event) => {
  event.preventDefault();
  const channel = channelOf($('open-name').value);
  $('open-name').setCustomValidity(channel ? '' : 'Letters, digits, _ and -');
  if (!channel) return $('open-name').reportValidity();
  $('open-name').value = '';
  location.hash = to(channel);
});
$('open-name').addEventListener('input', () => $('open-name').setCustomValidity(''));

$('menu').addEventListener('click', () => showSide(!$('side').classList.contains('open')));
$('room').addEventListener('click', (event) => event.target.id !== 'menu' && showSide(false));
function showSide(open) {
  $('side').classList.toggle('open', open);
  $('menu').setAttribute('aria-expanded', String(open));
}

// Alt and an arrow: the channel above or below. Escape: to the newest message.
addEventListener('keydown', (event) => {
  if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
    const names = chat.channels().map((channel) => channel.name);
    const at = names.indexOf(chat.channel) + (event.key === 'ArrowUp' ? -1 : 1);
    location.hash = to(names[(at + names.length) % names.length]);
    event.preventDefault();
  } else if (event.key === 'Escape' && !$('who').open) {
    showSide(false);
    newest();
    $('text').focus();
  }
});
