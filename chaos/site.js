'use strict';

// What is to suffer: a database, an offline WhatsApp, and server processes that share both. Each
// place has one process at a time, and ways of its own to the database and to WhatsApp.

const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { randomBytes } = require('node:crypto');

const { startChild } = require('../__test__/support/child');
const { freeze, freshDatabase, temporaryFolder } = require('../__test__/support/databases');
const { fakeClock, findFaketime } = require('../__test__/support/faketime');
const { Fleet } = require('../__test__/support/fleet');
const { startPostgres } = require('../__test__/support/postgres');
const { startProxy } = require('../__test__/support/proxy');
const { createGuard } = require('..');
const { History } = require('./history');

const WORKER = path.join(__dirname, 'worker.js');
const NAIVE_WORKER = path.join(__dirname, 'naive-worker.js');
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

const SCHEDULER = {
  connectsPerSecond: 20,
  burst: 5,
  maxConcurrent: 20,
  initialDelayMs: 200,
  maxDelayMs: 1000,
  connectTimeoutMs: 5000,
};

/** The `database` kind with a server that can be stopped, where it is one. */
async function openDatabase(kind) {
  if (kind === 'sqlite') return { ...asDatabase(await freshDatabase('sqlite')), server: undefined };
  const server = await startPostgres();
  const guard = createGuard({ databaseUrl: server.url(), logger: SILENT });
  await guard.migrate();
  await guard.shutdown();
  return { url: server.url(), server };
}

const asDatabase = (database) => ({
  url: database.url,
  query: (...args) => database.query(...args),
});

/** One process after the other, in one place, with a wall clock of its own where that can be had. */
class Place {
  busy = false;
  clock = findFaketime().missing ? undefined : fakeClock();
  child;
  record;
}

class Site {
  places = [];
  /** Every process there was: `{ name, file, killedAt?, expected, ended?, standstills }`. */
  records = [];
  #folder = temporaryFolder();
  #count = 0;
  #how;

  /**
   * @param {{ kind: string, agents: number, processes: number, ttlMs: number, beatMs?: number,
   *   naive?: boolean }} how
   */
  static async open(how) {
    const site = new Site();
    site.#how = { ...how, key: randomBytes(32).toString('hex') };
    site.database = await openDatabase(how.kind);
    const guard = { encryptionKey: site.#how.key, leaseTtlMs: 60_000 };
    const fleet = await Fleet.start(site.database, { guard, scheduler: SCHEDULER });
    site.endpoint = fleet.endpoint;
    const pairing = await Promise.all([fleet.instance(), fleet.instance()]);
    await fleet.pair(how.agents);
    await Promise.all(pairing.map((one) => one.call('shutdown').then(() => one.end())));
    if (how.naive) site.folders = await site.#exported(fleet.agents);
    for (let n = 0; n < how.processes; n++) {
      const place = new Place();
      if (site.database.server) place.proxy = await startProxy(site.database.url);
      place.line = await startProxy(site.endpoint.url);
      site.places.push(place);
    }
    await Promise.all(site.places.map((place) => site.start(place)));
    return site;
  }

  /** The credentials as files, which is where the naive worker has them. */
  async #exported(agents) {
    const folders = temporaryFolder();
    const { key: encryptionKey } = this.#how;
    const guard = createGuard({ databaseUrl: this.database.url, encryptionKey, logger: SILENT });
    for (const agent of agents) {
      const claim = await guard.claimInstance(agent);
      await guard.exportAuthState(claim, path.join(folders, agent));
      await claim.release();
    }
    await guard.shutdown();
    return folders;
  }

  async start(place) {
    const name = `p${this.places.indexOf(place)}.${++this.#count}`;
    const file = path.join(this.#folder, `${name}.jsonl`);
    const record = { name, file, expected: false, standstills: [] };
    const child = await startChild(this.folders ? NAIVE_WORKER : WORKER, {
      timeoutMs: 60_000,
      env: place.clock?.env,
    });
    child.exited.then(({ code, signal }) => {
      if (!record.expected) record.ended = `${signal ?? code}: ${child.stderr.slice(-500)}`;
    });
    Object.assign(place, { child, record });
    this.records.push(record);
    const { ttlMs, beatMs = 1000, key } = this.#how;
    await child.call('open', {
      databaseUrl: place.proxy?.url ?? this.database.url,
      endpoint: this.endpoint.url,
      line: place.line.url.replace(/\/$/, ''),
      history: file,
      folders: this.folders,
      guard: { leaseTtlMs: ttlMs, encryptionKey: key, instanceId: name },
      heartbeat: { intervalMs: beatMs, maxEventLoopStallMs: ttlMs },
      scheduler: SCHEDULER,
    });
    await child.call('resume');
  }

  /** Ends a process in good order; how it ends otherwise is written down. */
  async stop(place) {
    const { record, child } = place;
    record.expected = true;
    child.kill('SIGTERM');
    const late = pause(25_000, 'late', { ref: false });
    if ((await Promise.race([child.exited, late])) === 'late') {
      record.ended = 'SIGTERM did not end it within 25 s, see "kept alive" in its history';
      await child.end();
    } else if (child.ended.code !== 0) {
      record.ended = `SIGTERM: ${child.ended.signal ?? child.ended.code}: ${child.stderr.slice(-500)}`;
    }
    record.killedAt = History.now();
  }

  async kill(place) {
    place.record.expected = true;
    place.record.killedAt = History.now(); // not after it: others may know of it before we go on
    place.child.kill('SIGKILL');
    await place.child.exited;
  }

  async freeze(place, ms) {
    const from = History.now();
    if (this.database.server) place.child.kill('SIGSTOP');
    else await freeze(place.child, this.database);
    await pause(ms);
    place.child.kill('SIGCONT');
    place.record.standstills.push({ from, to: History.now() });
  }

  async online() {
    return (await this.endpoint.stats()).online;
  }

  /** Histories as the checker wants them. */
  processes() {
    return this.records.map(({ name, file, killedAt: told, ended, standstills }) => {
      const events = History.read(file);
      const killedAt = told && Math.max(told, events.at(-1)?.at ?? 0); // it wrote as long as it lived
      const stalls = events
        .filter(({ type }) => type === 'stalled')
        .map(({ at }) => ({
          from: at,
          to: events.find((event) => event.type === 'runs again' && event.at > at)?.at ?? killedAt,
        }));
      const lates = events
        .filter(({ type }) => type === 'late')
        .map(({ from, at, ranMs }) => ({ from, to: at, ranMs, late: true }));
      const all = [...standstills, ...stalls, ...lates].sort((a, b) => a.from - b.from);
      return { name, events, killedAt, ended, standstills: all };
    });
  }
}

module.exports = { Site };
