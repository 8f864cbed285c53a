'use strict';

// Several guards in one process, in worker threads; several processes of one program.

const { execFile } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const path = require('node:path');
const { promisify } = require('node:util');
const { Worker } = require('node:worker_threads');

const { defer } = require('./support/cleanup');
const { KINDS, SILENT, freshDatabase, temporaryFolder } = require('./support/databases');
const { createGuard } = require('..');

const KEY = randomBytes(32).toString('hex');

class Thread {
  #worker;
  #calls = new Map();
  #last = 0;

  constructor(options) {
    this.#worker = new Worker(path.join(__dirname, 'fixtures', 'thread.js'), {
      workerData: options,
    });
    this.#worker.on('message', ([id, value, error]) => {
      const { resolve, reject } = this.#calls.get(id);
      if (error) reject(Object.assign(new Error(error.message), error));
      else resolve(value);
    });
    this.#worker.on('error', (error) => {
      for (const { reject } of this.#calls.values()) reject(error);
    });
    defer(() => this.end());
  }

  call(method, ...args) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#worker.postMessage([id, method, ...args]);
    });
  }

  end() {
    return this.#worker.terminate();
  }
}

describe.each(KINDS)('worker threads on %s', (kind) => {
  let options;

  beforeAll(async () => {
    options = { databaseUrl: (await freshDatabase(kind)).url, encryptionKey: KEY };
  });

  test('each has a guard of its own: an instance of its own, and one database', async () => {
    const threads = [new Thread(options), new Thread(options)];
    const instanceId = await threads[0].call('claim', 'shared');
    await expect(threads[1].call('claim', 'shared')).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
    const main = createGuard({ ...options, logger: SILENT });
    expect((await main.getOwner('shared')).instanceId).toBe(instanceId);
    const sealed = await threads[1].call('seal', { secret: 1 });
    expect(main.decryptCredentials(sealed, { agentId: 'a' })).toEqual({ secret: 1 });
    await threads[0].call('shutdown');
    expect(await threads[1].call('claim', 'shared')).not.toBe(instanceId);
    await threads[1].call('shutdown');
    await main.shutdown();
  });

  test('one that is terminated in the middle of its calls leaves the process alive', async () => {
    for (let round = 0; round < 5; round++) {
      const thread = new Thread(options);
      await thread.call('claim', `cut-${round}`);
      await thread.call('begin');
      await thread.end();
    }
    const main = createGuard({ ...options, logger: SILENT });
    expect((await main.claimInstance('after')).held).toBe(true);
    await main.shutdown();
  });
});

test('a cluster of one program on one SQLite file: each agent has one owner', async () => {
  const script = path.join(__dirname, 'fixtures', 'cluster.js');
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], {
    cwd: temporaryFolder(),
    env: { ...process.env, DATABASE_URL: 'sqlite:shared.db' },
    timeout: 50_000,
  });
  expect(stderr).toBe('');
  const { told, codes } = JSON.parse(stdout);
  expect(codes).toEqual([0, 0, 0, 0]);
  expect(new Set(told.map(({ instanceId }) => instanceId)).size).toBe(4);
  const claimed = told.flatMap((one) => one.claimed);
  expect(claimed).toHaveLength(50);
  expect(new Set(claimed).size).toBe(50);
  for (const one of told) expect(one.claimed.length + one.inUse).toBe(50);
});
