'use strict';

// What the cache of a claim's stored state knows while reads and writes of one key overlap. The
// database is a map here, whose answers come when the test lets them.

const { StoredState } = require('../lib/auth-state/state');
const { encode } = require('../lib/auth-state/values');

class Database {
  values = new Map();
  gate = Promise.resolve();
  /** Number of the write whose answer is lost. */
  lost;
  #writes = 0;

  async get(kind, ids) {
    const found = ids.filter((id) => this.values.has(id));
    const items = found.map((id) => ({ id, ...this.values.get(id) }));
    await this.gate;
    return items;
  }

  async set({ ids, lengths, contents, bytes }) {
    let offset = 0;
    ids.forEach((id, index) => {
      const length = lengths[index];
      if (length < 0) return this.values.delete(id);
      const end = offset + length;
      return this.values.set(id, {
        content: contents[index],
        bytes: bytes.subarray(offset, (offset = end)),
      });
    });
    if (++this.#writes === this.lost) throw new Error('the answer was lost');
  }

  async clear() {
    this.values.clear();
    await this.gate;
  }

  /** Holds answers back until what it returns is called. */
  hold() {
    let open;
    this.gate = new Promise((resolve) => (open = resolve));
    return () => {
      this.gate = Promise.resolve();
      open();
    };
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

let database;
let state;

beforeEach(() => {
  database = new Database();
  const claim = {
    held: true,
    signal: new AbortController().signal,
    beforeRelease() {},
    end() {},
  };
  state = new StoredState(claim, database);
});

const value = async () => (await state.read('t', ['k'])).get('k');

test('a value too big to be kept, written while an old one is being read', async () => {
  database.values.set('k', encode({ v: 'old' }));
  const open = database.hold();
  const read = state.read('t', ['k']);
  await turn();
  await state.write([['t', 'k', { v: 'new', pad: 'x'.repeat(1_200_000) }]]);
  open();
  await read;
  expect((await value()).v).toBe('new');
});

test('everything deleted while a value is being read', async () => {
  database.values.set('k', encode({ v: 'old' }));
  const open = database.hold();
  const reads = [state.read('t', ['k'])];
  await turn();
  const clear = state.clear();
  await turn();
  database.values.set('k', encode({ v: 'seen by a read that came too early' }));
  reads.push(state.read('t', ['k']));
  await turn();
  database.values.clear();
  open();
  await Promise.all([clear, ...reads]);
  expect(await value()).toBeUndefined();
});

test('of two writes the second comes through, and its answer does not', async () => {
  database.lost = 2;
  const first = state.write([['t', 'k', { v: 1 }]]);
  const second = state.write([['t', 'k', { v: 2 }]]);
  await first;
  await expect(second).rejects.toThrow('the answer was lost');
  expect((await value()).v).toBe(2);
});

test('what was read is known, and asks no second time', async () => {
  database.values.set('k', encode({ v: 'read' }));
  await value();
  database.values.clear();
  expect((await value()).v).toBe('read');
});
