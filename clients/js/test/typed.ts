// Uses that TypeScript must accept, with the types by their names. Nothing runs this; `npm run check` checks it.

import { connect } from '../src/index.js';
import type {
  Action, AppendOptions, Changes, Client, Codec, Committed, Condition, Connection, Cookie, Depth, Difference, Done, Entry, Found, IfOptions, Keep,
  Limits, ListOptions, Mirror, MirrorEvent, MirrorOptions, OnetreeError, Options, PutOptions, Snapshot, Status, Step, Transaction, Txn,
  Value, Verdict, View, ViewOptions,
} from '../src/index.js';
import { keepInFile } from '../src/keep-file.js';
import { msgpack } from '../src/msgpack.js';

const codec: Codec = msgpack;
const options: Options = { codec, reconnect: 'always', token: async () => 'text' };

async function begun(url: string): Promise<Client> {
  const client = await connect(url, options);
  client.onStatus((status: Status) => {
    const connection: Connection | undefined = status.status === 'online' ? status.connection : undefined;
    const limits: Limits | undefined = connection?.limits;
    if (status.status === 'offline') console.log(status.error.code, limits);
  });
  return client;
}

async function asked(client: Client): Promise<Entry | undefined> {
  const [put, append, only, list]: [PutOptions, AppendOptions, IfOptions, ListOptions] = [{ ifRev: 0 }, { ttlMs: 5 }, { ifRev: 1 }, { limit: 3 }];
  const done: Done = await client.put('/a', 1, put);
  await client.append('/log', 1, append);
  await client.delete('/a', only);
  const condition: Condition = { path: '/a', rev: done.rev };
  const step: Step = { do: 'put', path: '/a', value: 2 };
  const txn: Txn = { if: [condition], do: [step] };
  await client.txn(txn);
  const found: Found = await client.list('/', list);
  return found.entries[0];
}

/** The name of an event says which other fields it has. */
async function shown(mirror: Mirror): Promise<number> {
  const changes: Changes = mirror.changes();
  let count = 0;
  for await (const event of changes) {
    const told: MirrorEvent = event;
    if (event.type === 'fresh' || event.type === 'delta') {
      const differences: Difference[] = event.changes;
      count += differences.length;
    } else if (event.type === 'offline') {
      const { action }: OnetreeError = event.error;
      count += ({ retry: event.retryInMs, resync: 0, reauth: 0, fix: 0, stop: 0 } satisfies Record<Action, number>)[action];
    } else if (told.type === 'ended') {
      break;
    }
  }
  return count;
}

async function kept(client: Client): Promise<Found> {
  const depth: Depth = 'children';
  const view: ViewOptions = { path: '/log', depth, tail: 5 };
  const keep: Keep = keepInFile('state');
  const more: MirrorOptions = { keep, signals: true };
  const mirror = client.mirror(view, more);
  const whole: View = mirror.view;
  const snapshot: Snapshot = mirror.snapshot();
  const cookie: Cookie | undefined = snapshot.cookie;
  console.log(whole.match, cookie?.epoch);
  const committed: Committed<string | undefined> = await mirror.transact((tx: Transaction) => {
    const value: Value | undefined = tx.get('/a')?.value;
    return value?.text;
  });
  console.log(committed.result, committed.done?.rev, committed.runs);
  const { verdict, rev, expected, found }: Verdict = await mirror.verify();
  console.log(verdict, rev, expected, found);
  return mirror.earlier('/log', 10);
}

export const uses = [begun, asked, shown, kept];
