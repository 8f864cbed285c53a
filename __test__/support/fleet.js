'use strict';

// Instances with real sockets over one endpoint and one database; the test's side of
// `fixtures/fleet.js`.

const { spawnEndpoint } = require('../../examples/whatsapp-endpoint');
const { startChild } = require('./child');
const { defer } = require('./cleanup');
const { temporaryFolder } = require('./databases');
const { until } = require('./reconnect');

/** Pairing at once in one process: few, since each has 812 pre-keys to make. */
const PAIRING_AT_ONCE = 3;

class Fleet {
  instances = [];
  agents = [];
  jids = new Map();

  /**
   * @param {{ url: string, query: Function }} database
   * @param {object} [how] options for every instance: guard, heartbeat, scheduler, socket
   */
  static async start(database, how = {}) {
    const fleet = new Fleet();
    fleet.database = database;
    fleet.how = how;
    fleet.folder = temporaryFolder();
    fleet.endpoint = await spawnEndpoint();
    defer(() => fleet.endpoint.close());
    return fleet;
  }

  async instance(how = {}) {
    const child = await startChild('fleet.js', { timeoutMs: 30_000 });
    child.instanceId = await child.call('open', {
      databaseUrl: this.database.url,
      folder: this.folder,
      endpoint: this.endpoint.url,
      ...this.how,
      ...how,
      scheduler: { ...this.how.scheduler, ...how.scheduler },
    });
    this.instances.push(child);
    return child;
  }

  /** Pairs so many agents, one after the other on each of the instances. */
  async pair(count) {
    const left = Array.from({ length: count }, (_, n) => `agent-${String(n).padStart(4, '0')}`);
    this.agents.push(...left);
    const work = async (instance) => {
      for (let agentId = left.shift(); agentId; agentId = left.shift()) {
        await this.pairOne(instance, agentId);
      }
    };
    const workers = this.instances.flatMap((one) => Array(PAIRING_AT_ONCE).fill(one));
    await Promise.all(workers.map(work));
  }

  async pairOne(instance, agentId) {
    const told = (type) => ({
      timeoutMs: 60_000,
      where: (event) => event.agentId === agentId && event.type === type,
    });
    await instance.call('supervise', agentId);
    for (;;) {
      const { qr } = await instance.event('session', told('qr'));
      try {
        const { jid } = await this.endpoint.scan(qr);
        this.jids.set(agentId, jid);
        break;
      } catch (error) {
        // Its process was too slow; the session shows another one by itself.
        if (!/client left|no client/.test(error.message)) throw error;
      }
    }
    await instance.event('session', told('connected'));
  }

  /** Waits until so many devices are logged in, here all. */
  async online(count = this.agents.length, { timeoutMs = 30_000 } = {}) {
    let seen;
    await until(
      async () => {
        seen = await this.endpoint.stats();
        return seen.online === count;
      },
      { timeoutMs },
    ).catch(() => {
      throw new Error(`${seen.online} of ${count} are online after ${timeoutMs} ms`);
    });
    return seen;
  }

  /** Counters of the endpoint when all conflicts are judged. */
  async judged() {
    await until(async () => (await this.endpoint.stats()).conflictsJudging === 0);
    return this.endpoint.stats();
  }

  async row(agentId) {
    const { rows } = await this.database.query(
      'SELECT status, is_active, instance_id, qr_code, phone_number FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    return { ...rows[0], is_active: Boolean(rows[0]?.is_active) };
  }

  /** How long each session was without a socket since an event, in milliseconds, sorted. */
  async gaps(since) {
    const events = await this.endpoint.events({ since });
    const closed = new Map();
    const gaps = [];
    for (const { type, jid, monoMs } of events) {
      if (type === 'close' && jid) closed.set(jid, monoMs);
      if (type === 'login' && closed.has(jid)) {
        gaps.push(monoMs - closed.get(jid));
        closed.delete(jid);
      }
    }
    return gaps.sort((a, b) => a - b);
  }

  /** The most connects in any second since an event. */
  async busiestSecond(since) {
    const events = await this.endpoint.events({ since });
    const at = events
      .filter(({ type }) => type === 'upgrade' || type === 'refused')
      .map(({ monoMs }) => monoMs);
    let most = 0;
    for (let first = 0, last = 0; last < at.length; last++) {
      while (at[last] - at[first] >= 1000) first += 1;
      most = Math.max(most, last - first + 1);
    }
    return most;
  }

  async lastSeq() {
    return (await this.endpoint.stats()).lastSeq;
  }
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

module.exports = { Fleet, quantile };
