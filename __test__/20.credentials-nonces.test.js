'use strict';

// A nonce that came twice under one key would break the encryption of both values. It is the one
// property that cannot be seen in a single envelope.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { Worker } = require('node:worker_threads');

const { KEY_A } = require('./support/credentials');

const SEALER = path.join(__dirname, 'fixtures', 'seal-many.js');
const COUNT = 250_000;
const work = { count: COUNT, encryptionKey: KEY_A };

async function inThread() {
  const worker = new Worker(SEALER, { workerData: work });
  const [nonces] = await once(worker, 'message');
  return Buffer.from(nonces);
}

async function inProcess() {
  const child = fork(SEALER);
  child.send(work);
  const [nonces] = await once(child, 'message');
  return Buffer.from(nonces, 'base64');
}

test('a million seals in threads and processes repeat no nonce', async () => {
  const found = await Promise.all([inThread(), inThread(), inProcess(), inProcess()]);
  const seen = new Set();
  for (const nonces of found) {
    expect(nonces.length).toBe(COUNT * 12);
    for (let at = 0; at < nonces.length; at += 12) seen.add(nonces.latin1Slice(at, at + 12));
  }
  expect(seen.size).toBe(4 * COUNT);
});
