'use strict';

// Waiting for a turn. Each key has a line of its own; who came first goes first. Only the head
// of a line asks the limiter, and is told how long to wait: nothing polls.

const { GuardError } = require('../errors');
const { isThenable } = require('./then');

const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** One who waits. */
class Waiter {
  constructor(points, onProgress, signal) {
    this.points = points;
    this.onProgress = onProgress;
    this.since = Date.now();
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.signal = signal;
    this.abort = undefined;
  }
}

class Line {
  /** In order of arrival; a set, so that leaving from the middle is quick. */
  waiting = new Set();
  asking = false;
  /** Something has changed since it was asked: a refusal may be out of date. */
  stale = false;
  timer = undefined;
  nextAt = 0;
}

/** Who leaves when a signal aborts. One listener for all of them: Node warns of more than ten. */
class Departures {
  #groups = new Map();

  add(signal, leave) {
    let group = this.#groups.get(signal);
    if (group === undefined) {
      const leaving = new Set();
      group = { leaving, listener: () => [...leaving].forEach((leave) => leave()) };
      this.#groups.set(signal, group);
      signal.addEventListener('abort', group.listener);
    }
    group.leaving.add(leave);
  }

  remove(signal, leave) {
    const { leaving, listener } = this.#groups.get(signal);
    leaving.delete(leave);
    if (leaving.size > 0) return;
    this.#groups.delete(signal);
    signal.removeEventListener('abort', listener);
  }
}

class TurnQueue {
  #lines = new Map();
  #departures = new Departures();

  /**
   * @param {object} options
   * @param {(key, points: number) => object | Promise<object>} options.take a decision
   * @param {(key, points: number, decision) => unknown} options.refund gives points back
   * @param {number} options.maxQueue how many may wait for one key
   * @param {number} options.paceMs time between two turns, to estimate with
   * @param {{ error: Function }} options.logger
   * @param {(waits: boolean) => void} options.onBusy told when somebody waits, and when nobody does
   */
  constructor(options) {
    this.options = options;
  }

  /** Resolves with the decision that let this one pass. */
  async wait(key, { points, signal, onProgress }) {
    signal?.throwIfAborted();
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = new Line();
      if (this.#lines.size === 0) this.options.onBusy(true);
      this.#lines.set(key, line);
    }
    const { maxQueue } = this.options;
    if (line.waiting.size >= maxQueue) {
      throw new GuardError(
        'ERR_QUEUE_FULL',
        `the queue of ${String(key)} is full: ${maxQueue} are waiting for their turn (maxQueue)`,
        { key, maxQueue },
      );
    }
    const waiter = new Waiter(points, onProgress, signal);
    line.waiting.add(waiter);
    if (signal) {
      waiter.abort = () => this.#leave(key, line, waiter, () => waiter.reject(signal.reason));
      this.#departures.add(signal, waiter.abort);
    }
    if (line.waiting.size === 1) this.#serve(key, line);
    else this.#tell(line, waiter, line.waiting.size - 1);
    return waiter.promise;
  }

  /** Asks again at once: something has changed for this key. */
  wake(key) {
    const line = this.#lines.get(key);
    if (line === undefined) return;
    line.stale = true;
    if (line.timer !== undefined) this.#serve(key, line);
  }

  /** How many wait for a key, and in how many milliseconds the first of them asks again. */
  pending(key) {
    const line = this.#lines.get(key);
    return { waiting: line?.waiting.size ?? 0, nextInMs: line ? this.#untilNext(line) : 0 };
  }

  /** The same for every key for which somebody waits. */
  all() {
    return [...this.#lines].map(([key]) => ({ key, ...this.pending(key) }));
  }

  /** Sends everybody away. */
  close(error) {
    for (const [key, line] of this.#lines) {
      clearTimeout(line.timer);
      line.timer = undefined; // the next in line is not asked for when the first has left
      for (const waiter of [...line.waiting]) {
        this.#leave(key, line, waiter, () => waiter.reject(error));
      }
    }
  }

  /** Lets the head pass, and the next, until one has to wait. */
  #serve(key, line) {
    clearTimeout(line.timer);
    line.timer = undefined;
    while (line.waiting.size > 0 && !line.asking) {
      const [head] = line.waiting;
      line.stale = false;
      let decision;
      try {
        decision = this.options.take(key, head.points);
      } catch (error) {
        this.#leave(key, line, head, () => head.reject(error));
        continue;
      }
      if (isThenable(decision)) {
        line.asking = true;
        const answered = (answer) => {
          line.asking = false;
          answer();
          if (line.timer === undefined) this.#serve(key, line);
        };
        Promise.resolve(decision).then(
          (settled) => answered(() => this.#decide(key, line, head, settled)),
          (error) => answered(() => this.#leave(key, line, head, () => head.reject(error))),
        );
        return;
      }
      this.#decide(key, line, head, decision);
      if (line.timer !== undefined) return;
    }
  }

  #decide(key, line, head, decision) {
    const gone = !line.waiting.has(head);
    if (decision.allowed && gone) {
      this.#giveBack(key, head, decision);
    } else if (decision.allowed) {
      const waitedMs = Math.max(0, Date.now() - head.since);
      this.#leave(key, line, head, () => head.resolve({ ...decision, waitedMs }));
    } else if (!gone && !line.stale) {
      const inMs = Math.max(1, Math.ceil(decision.retryAfterMs));
      line.nextAt = Date.now() + inMs;
      line.timer = setTimeout(() => this.#serve(key, line), Math.min(inMs, MAX_TIMEOUT_MS));
    }
    let position = 0;
    for (const waiter of line.waiting) this.#tell(line, waiter, position++);
  }

  /** It left while the database was asked. What it was given goes to the others. */
  async #giveBack(key, { points }, decision) {
    try {
      await this.options.refund(key, points, decision);
      this.wake(key);
    } catch (error) {
      if (error.code === 'ERR_SHUT_DOWN') return; // it left because all had to
      this.options.logger.error(
        error,
        'baileys-guard: acquire was aborted and could not give back',
      );
    }
  }

  #leave(key, line, waiter, settle) {
    if (!line.waiting.has(waiter)) return;
    const [head] = line.waiting;
    line.waiting.delete(waiter);
    if (waiter.signal) this.#departures.remove(waiter.signal, waiter.abort);
    settle();
    if (line.waiting.size === 0) {
      clearTimeout(line.timer);
      if (this.#lines.get(key) === line) this.#lines.delete(key);
      if (this.#lines.size === 0) this.options.onBusy(false);
    } else if (head === waiter && line.timer !== undefined) {
      this.#serve(key, line); // the next one may want fewer points
    }
  }

  #untilNext(line) {
    return line.timer === undefined ? 0 : Math.max(0, line.nextAt - Date.now());
  }

  #tell(line, waiter, position) {
    if (waiter.onProgress === undefined) return;
    const estimateMs = this.#untilNext(line) + position * this.options.paceMs;
    try {
      waiter.onProgress({ position, estimateMs });
    } catch (error) {
      this.options.logger.error(error, 'baileys-guard: onProgress of acquire threw');
    }
  }
}

module.exports = { TurnQueue };
