'use strict';

// Writes of one claim's auth state: in order, at most one on its way, what waits goes together.
//
// Baileys ignores the promise of `creds.update` handlers, so the order is kept here. Whoever
// reads a key waits for the writes of it that were called before.

const { setTimeout: sleep } = require('node:timers/promises');

const { settle } = require('../errors');

// A write that finds no database is tried again for this long: a restart loses nothing. Then it
// rejects, and Baileys tries for a while longer.
const PATIENCE_MS = 10_000;
const FIRST_RETRY_MS = 50;

const keyOf = (kind, id) => `${kind}\0${id}`;

class Batch {
  changes = new Map(); // key -> { kind, id, stored } ; stored is { content, bytes } or null

  constructor() {
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {}); // a rejection that nobody awaits must not end the process
  }
}

class Writes {
  #native;
  #isHeld;
  #running;
  #waiting;

  /** `isHeld()` says whether trying again still makes sense. */
  constructor(native, isHeld) {
    this.#native = native;
    this.#isHeld = isHeld;
  }

  /** Stores all of `changes` or none, after everything called before. */
  write(changes) {
    this.#waiting ??= new Batch();
    const batch = this.#waiting;
    for (const change of changes) batch.changes.set(keyOf(change.kind, change.id), change);
    if (!this.#running) void this.#run();
    return batch.done;
  }

  /** Resolves when the writes of these keys that were called before are through or failed. */
  async settled(kind, ids) {
    const touches = (batch) => batch && ids.some((id) => batch.changes.has(keyOf(kind, id)));
    for (const batch of [this.#running, this.#waiting]) {
      if (touches(batch)) await batch.done.catch(() => {});
    }
  }

  /** Resolves when all writes called before are through or failed. */
  async flush() {
    for (const batch of [this.#running, this.#waiting]) await batch?.done.catch(() => {});
  }

  async #run() {
    while (this.#waiting) {
      const batch = (this.#running = this.#waiting);
      this.#waiting = undefined;
      try {
        await this.#store(batch);
        batch.resolve();
      } catch (error) {
        batch.reject(error);
      }
    }
    this.#running = undefined;
  }

  async #store(batch) {
    const packed = pack([...batch.changes.values()]);
    const giveUp = performance.now() + PATIENCE_MS;
    for (let pause = FIRST_RETRY_MS; ; pause = Math.min(2 * pause, 1000)) {
      try {
        return await settle(this.#native.set(packed));
      } catch (error) {
        const again = error.code === 'ERR_DATABASE_UNAVAILABLE' && this.#isHeld();
        if (!again || performance.now() + pause > giveUp) throw error;
        await sleep(pause, undefined, { ref: false });
      }
    }
  }
}

/** All changes in one piece, for one crossing. */
function pack(changes) {
  const lengths = new Int32Array(changes.length);
  const contents = new Uint8Array(changes.length);
  const pieces = [];
  changes.forEach(({ stored }, n) => {
    lengths[n] = stored ? stored.bytes.length : -1;
    contents[n] = stored ? stored.content : 0;
    if (stored) pieces.push(stored.bytes);
  });
  return {
    kinds: changes.map(({ kind }) => kind),
    ids: changes.map(({ id }) => id),
    contents,
    lengths,
    bytes: Buffer.concat(pieces),
  };
}

module.exports = { Writes };
