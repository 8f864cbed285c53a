'use strict';

// One measurement of one subject in a process of its own: `node worker.js WHAT SUBJECT [NUMBER]`
// prints a JSON object.

const http = require('node:http');
const { PerformanceObserver, monitorEventLoopDelay } = require('node:perf_hooks');

const { SUBJECTS, address } = require('./subjects');

const [what, subject, number] = process.argv.slice(2);

/** A response that takes what it is given, or a real one of Node's. */
const responses = {
  stub: () => ({ headersSent: false, setHeader() {} }),
  node: () => new http.ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1 }),
};

/** Processor time of this thread's work, so that other processes of the machine do not count. */
function cpu(action) {
  const before = process.cpuUsage();
  return Promise.resolve(action()).then(() => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  });
}

const MEASURES = {
  /** Middleware calls a second of processor time, with so many keys. */
  async middleware(response) {
    const keys = Array.from({ length: Number(number) }, (_, i) => address(i));
    const limiter = SUBJECTS[subject].middleware();
    const make = responses[response];
    const CALLS = 200_000;
    let passed = 0;
    const next = () => (passed += 1);
    const round = async () => {
      for (let i = 0; i < CALLS; i += 500) {
        const batch = [];
        for (let j = i; j < i + 500; j += 1) {
          const request = { ip: keys[(j * 7919) % keys.length], headers: {} };
          batch.push(limiter(request, make(), next));
        }
        await Promise.all(batch);
      }
    };
    await round();
    let best = Infinity;
    for (let i = 0; i < 6; i += 1) best = Math.min(best, await cpu(round));
    if (passed !== 7 * CALLS) throw new Error(`${passed} calls passed`);
    return { perSecond: CALLS / best };
  },

  /** Memory of so many keys, the longest pause while they come, and a full collection with them. */
  async memory() {
    const count = Number(number);
    const hit = SUBJECTS[subject].store();
    await hit('warm-up');
    global.gc();
    const before = process.memoryUsage().rss;
    const delay = monitorEventLoopDelay({ resolution: 1 });
    let collecting = 0;
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) collecting = Math.max(collecting, entry.duration);
    });
    observer.observe({ entryTypes: ['gc'] });
    let longestHit = 0;
    delay.enable();
    for (let i = 0; i < count; i += 1) {
      const start = performance.now();
      const hitting = hit(address(i));
      longestHit = Math.max(longestHit, performance.now() - start);
      // A server handles a few hits in a turn of its event loop.
      if (i % 20 === 0) {
        await hitting;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    delay.disable();
    global.gc();
    global.gc();
    const bytes = (process.memoryUsage().rss - before) / count;
    const start = performance.now();
    global.gc();
    const fullCollectionMs = performance.now() - start;
    await new Promise((resolve) => setImmediate(resolve));
    observer.disconnect();
    return { bytes, longestHit, pauseMs: delay.max / 1e6, collecting, fullCollectionMs };
  },

  /** A bare Express 5 app with the subject in front, or with nothing. */
  async serve() {
    const express = require('express');
    const app = express();
    if (subject !== 'none') app.use(SUBJECTS[subject].middleware());
    app.get('/', (_request, response) => response.end('ok'));
    const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port));
    return new Promise(() => {});
  },
};

const [measure, argument] = what.split(':');
MEASURES[measure](argument).then((result) => {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
});
