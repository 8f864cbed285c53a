'use strict';

// Gathers hits while the database is at work on those before them. A hit that finds it idle goes at
// once; those that come meanwhile go together, all of one limit in one statement: the busier it is
// the less a hit costs, and none waits for company.

/** Statements of one limit at a time: one that the database carries out, and one on its way. */
const AT_WORK = 2;
/** Hits in a statement. */
const MOST = 200;
/** Whoever has waited so long behind a statement that failed is not made to wait for another one. */
const PATIENCE_MS = 1000;

const ID_BYTES = 16;
/** Numbers of an answer, as the native side gives them. */
const NUMBERS = 6;

/** Hits of one limit that wait. */
class Line {
  waiting = [];
  atWork = 0;
}

class GatheredHits {
  #take;
  #lines = new Map();

  /**
   * @param {(ids: Buffer, rule: object, points: number, waits: boolean) => Promise<Float64Array>}
   *   take decides about hits one after the other
   */
  constructor(take) {
    this.#take = take;
  }

  /**
   * @param {Buffer} id 16 bytes
   * @param {object} rule
   * @param {number} points
   * @param {boolean} waits
   * @returns {Promise<import('./database-limits').Answer>}
   */
  take(id, rule, points, waits) {
    const { name, algorithm, windowMs, limit, burst, blockMs } = rule;
    const measure = `${algorithm} ${windowMs} ${limit} ${burst} ${blockMs} ${points} ${waits} ${name}`;
    let line = this.#lines.get(measure);
    if (line === undefined) this.#lines.set(measure, (line = new Line()));
    return new Promise((resolve, reject) => {
      line.waiting.push({ id, resolve, reject, since: performance.now() });
      if (line.atWork >= AT_WORK) return;
      line.atWork += 1;
      // In a moment, so that those that come with it are there. No timer: tests fake them.
      Promise.resolve().then(() => this.#work(measure, line, [rule, points, waits]));
    });
  }

  async #work(measure, line, how) {
    while (line.waiting.length > 0) {
      const hits = line.waiting.splice(0, MOST);
      try {
        const ids = Buffer.concat(
          hits.map(({ id }) => id),
          hits.length * ID_BYTES,
        );
        const answers = await this.#take(ids, ...how);
        hits.forEach(({ resolve }, index) => resolve(answerAt(answers, index)));
      } catch (error) {
        const before = performance.now() - PATIENCE_MS;
        const late = line.waiting.filter(({ since }) => since < before);
        line.waiting = line.waiting.filter(({ since }) => since >= before);
        for (const { reject } of [...hits, ...late]) reject(error);
      }
    }
    line.atWork -= 1;
    if (line.atWork === 0) this.#lines.delete(measure);
  }
}

function answerAt(answers, index) {
  const at = index * NUMBERS;
  return {
    allowed: answers[at] === 1,
    used: answers[at + 1],
    remaining: answers[at + 2],
    resetInMs: answers[at + 3],
    retryAfterMs: answers[at + 4],
    hitAt: answers[at + 5],
  };
}

module.exports = { GatheredHits };
