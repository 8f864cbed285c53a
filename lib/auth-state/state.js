'use strict';

// The stored state of one claim: values by (type, id), read and written under its fence.

const { ClaimLostError, GuardError, malformedEnvelope, settle } = require('../errors');
const { Cache } = require('./cache');
const { decode, encode } = require('./values');
const { Writes } = require('./writes');

class StoredState {
  #claim;
  #native;
  #writes;
  #cache = new Cache();

  constructor(claim, native) {
    this.#claim = claim;
    this.#native = native;
    this.#writes = new Writes(native, () => claim.held);
    claim.signal.addEventListener('abort', () => this.#cache.clear(), { once: true });
    claim.beforeRelease(() => this.#writes.flush());
  }

  /** `Map` of id to value of those that exist. Sees every write called before. */
  async read(kind, ids) {
    await this.#writes.settled(kind, ids);
    this.checkHeld();
    const found = new Map();
    const unknown = [];
    for (const id of ids) {
      const stored = this.#cache.get(kind, id);
      if (stored === undefined) unknown.push(id);
      else if (stored) found.set(id, stored);
    }
    if (unknown.length > 0) {
      const read = this.#cache.expect(kind, unknown);
      const items = await this.#fenced(this.#native.get(kind, unknown));
      const brought = new Map(items.map(({ id, content, bytes }) => [id, { content, bytes }]));
      // A write called while this was on its way decides what is known about its keys.
      await this.#writes.settled(kind, unknown);
      for (const id of unknown) {
        const stored = this.#cache.get(kind, id) ?? brought.get(id) ?? null;
        this.#cache.bring(read, kind, id, stored);
        if (stored) found.set(id, stored);
      }
      this.checkHeld();
    }
    for (const [id, stored] of found) found.set(id, this.#decode(kind, id, stored));
    return found;
  }

  /** Stores all entries `[type, id, value]` or none; null and undefined delete. */
  async write(entries) {
    // Serialised now: what the caller changes later belongs to a later write.
    const changes = entries.map(([kind, id, value]) => {
      const isDeleted = value === null || value === undefined;
      return { kind, id, stored: isDeleted ? null : this.#encode(kind, id, value) };
    });
    if (changes.length === 0) return;
    const forget = () => changes.forEach(({ kind, id }) => this.#cache.forget(kind, id));
    forget();
    try {
      await this.#fenced(this.#writes.write(changes));
    } catch (error) {
      forget(); // whether it came through nobody knows, and an earlier write may have been put in
      throw error;
    }
    if (this.#claim.held) {
      for (const { kind, id, stored } of changes) this.#cache.put(kind, id, stored);
    }
  }

  /** Deletes everything, the credentials too. */
  async clear() {
    await this.#writes.flush();
    this.#cache.clear();
    try {
      await this.#fenced(this.#native.clear());
    } finally {
      this.#cache.clear(); // of what was read meanwhile
    }
  }

  /** Every stored value, a page at a time. */
  async *all() {
    await this.#writes.flush();
    let [kind, id] = ['', ''];
    for (;;) {
      const page = await this.#fenced(this.#native.list(kind, id));
      if (page.length === 0) return;
      for (const item of page) {
        ({ kind, id } = item);
        yield { kind, id, value: this.#decode(kind, id, item) };
      }
    }
  }

  /** The host's `session_data`, parsed; undefined where there is none. */
  async sessionData() {
    const text = await this.#fenced(this.#native.sessionData());
    if (text === null || text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      const { agentId } = this.#claim;
      throw malformedEnvelope('session_data is not JSON', { agentId });
    }
  }

  #encode(type, id, value) {
    try {
      return encode(value);
    } catch (error) {
      if (error.code !== 'ERR_NOT_SERIALIZABLE') throw error;
      const { agentId } = this.#claim;
      const message = `agent ${agentId}, ${type}${id && ` ${id}`}: ${error.message}`;
      throw new GuardError(error.code, message, { path: error.path, agentId, type, id });
    }
  }

  /** Of what is stored without encryption no tag has told that it is damaged. */
  #decode(type, id, { content, bytes }) {
    try {
      return decode(content, bytes);
    } catch (error) {
      this.#cache.forget(type, id);
      throw malformedEnvelope(error.message, { agentId: this.#claim.agentId, type, id });
    }
  }

  /** Throws the reason where the claim is lost. */
  checkHeld() {
    if (!this.#claim.held) throw this.#claim.signal.reason;
  }

  /** A refused call ends the claim at once, and with it the user's socket. */
  async #fenced(promise) {
    try {
      return await settle(promise);
    } catch (error) {
      if (error instanceof ClaimLostError) this.#claim.end(error.reason);
      throw error;
    }
  }
}

module.exports = { StoredState };
