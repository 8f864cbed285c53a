'use strict';

// One measurement of one subject in a process of its own: `node worker.js WHAT SUBJECT [NUMBER]`
// prints a JSON object.

const http = require('node:http');

const { SUBJECTS, address } = require('./subjects');

const [what, subject, number] = process.argv.slice(2);

/** A response that takes what it is given, or a real one of Node's. */
const responses = {
  stub: () => ({ headersSent: false, setHeader() {} }),
  node: () => new http.ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1 }),
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Processor time of this thread's work, so that other processes of the machine do not count. */
function cpu(action) {
  const before = process.cpuUsage();
  return Promise.resolve(action()).then(() => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  });
}

const MEASURES = {
  /**
   * Middleware calls a second of processor time, with so many keys. What calls are made with is made
   * before the clock runs: Node's responses take as long to make as a limiter.
   */
  async middleware(response) {
    const keys = Array.from({ length: Number(number) }, (_, i) => address(i));
    const limiter = SUBJECTS[subject].middleware();
    const make = responses[response];
    const CALLS = 200_000;
    let passed = 0;
    const next = () => (passed += 1);
    const batch = async (calls) => {
      for (const { request, response } of calls) limiter(request, response, next);
      await turn(); // whoever answers later has answered by then
    };
    const round = async () => {
      let seconds = 0;
      for (let i = 0; i < CALLS; i += 500) {
        const calls = Array.from({ length: 500 }, (_, j) => ({
          request: { ip: keys[((i + j) * 7919) % keys.length], headers: {} },
          response: make(),
        }));
        seconds += await cpu(() => batch(calls));
      }
      return seconds;
    };
    await round();
    let best = Infinity;
    for (let i = 0; i < 6; i += 1) best = Math.min(best, await round());
    if (passed !== 7 * CALLS) throw new Error(`${passed} calls passed`);
    return { perSecond: CALLS / best };
  },

  /**
   * Memory of so many keys, the longest turn of the event loop while they come (in processor time,
   * so that other processes of the machine do not count), and a full collection with them.
   */
  async memory() {
    const count = Number(number);
    const hit = SUBJECTS[subject].store();
    await hit('warm-up');
    global.gc();
    const before = process.memoryUsage().rss;
    let pauseMs = 0;
    for (let i = 0; i < count; i += 10) {
      // A server handles a few hits in a turn of its event loop.
      const seconds = await cpu(() => {
        let hitting;
        for (let j = i; j < i + 10; j += 1) hitting = hit(address(j));
        return hitting;
      });
      pauseMs = Math.max(pauseMs, seconds * 1000);
      if (i % 1000 === 0) await turn();
    }
    global.gc();
    global.gc();
    const bytes = (process.memoryUsage().rss - before) / count;
    const fullCollectionMs = (await cpu(() => global.gc())) * 1000;
    return { bytes, pauseMs, fullCollectionMs };
  },

  /** A bare Express 5 app with the subject in front, or with nothing; tells its CPU time when asked. */
  async serve() {
    const express = require('express');
    const app = express();
    if (subject !== 'none') app.use(SUBJECTS[subject].middleware());
    app.get('/', (_request, response) => response.end('ok'));
    const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port));
    process.on('message', () => process.send(process.cpuUsage()));
    return new Promise(() => {});
  },
};

const [measure, argument] = what.split(':');
MEASURES[measure](argument).then((result) => {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
});
