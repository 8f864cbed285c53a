'use strict';

// What one claim has read or stored, so that a message costs no round trips.
//
// Only the holder of a claim writes, so what it stored is what is there. A key is put in here
// after its write came through, and thrown out when a write of it begins or fails. What a read
// brings is put in only when no write of that key has begun since. Bytes are kept, not values:
// nobody can change them from outside. It is dropped with the claim.

const MAX_BYTES = 4 * 1024 * 1024;
const OVERHEAD = 100; // of an entry, roughly

class Cache {
  #entries = new Map(); // in order of their last use
  #reads = new Map(); // key -> the latest read that is on its way
  #bytes = 0;

  /** `{ content, bytes }`, null for a key known to be missing, undefined for an unknown one. */
  get(kind, id) {
    const key = `${kind}\0${id}`;
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /** A read of these keys begins; what it brings is taken by `bring`. */
  expect(kind, ids) {
    const read = {};
    for (const id of ids) this.#reads.set(`${kind}\0${id}`, read);
    return read;
  }

  /** What a read has found, unless something has become of the key since. */
  bring(read, kind, id, stored) {
    if (this.#reads.get(`${kind}\0${id}`) === read) this.put(kind, id, stored);
  }

  put(kind, id, stored) {
    this.forget(kind, id);
    const size = sizeOf(stored);
    if (size > MAX_BYTES / 4) return;
    this.#entries.set(`${kind}\0${id}`, stored);
    this.#bytes += size;
    for (const [key, oldest] of this.#entries) {
      if (this.#bytes <= MAX_BYTES) break;
      this.#entries.delete(key);
      this.#bytes -= sizeOf(oldest);
    }
  }

  forget(kind, id) {
    const key = `${kind}\0${id}`;
    this.#reads.delete(key);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(entry);
  }

  clear() {
    this.#reads.clear();
    this.#entries.clear();
    this.#bytes = 0;
  }
}

const sizeOf = (stored) => OVERHEAD + (stored?.bytes.length ?? 0);

module.exports = { Cache };
