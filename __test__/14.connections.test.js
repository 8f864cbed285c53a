'use strict';

// Ways to a PostgreSQL server: through a transaction-mode pooler, and by TLS.

const { SILENT, guardsOn } = require('./support/databases');
const { startPgBouncer } = require('./support/pgbouncer');
const { createDatabase, startPostgres, withClient } = require('./support/postgres');
const { createGuard } = require('..');

describe('PgBouncer in transaction mode, three connections to the server', () => {
  let database;
  let bouncer;
  let through;

  beforeAll(async () => {
    database = await createDatabase();
    bouncer = await startPgBouncer({ poolSize: 3, poolMode: 'transaction' });
    through = guardsOn({ url: bouncer.through(database.url) }, { leaseTtlMs: 60_000 });
    await through().migrate();
  });

  test('every answer is the one to its question, under load', async () => {
    const guards = Array.from({ length: 8 }, () => through());
    for (const guard of guards) guard.startHeartbeat({ intervalMs: 200 });
    const claims = await Promise.all(
      guards.map((guard, n) =>
        guard.claimInstances(Array.from({ length: 25 }, (_, m) => `p${n}-${m}`)),
      ),
    );
    expect(
      claims.every(({ claims: held, inUse }) => held.length === 25 && inUse.length === 0),
    ).toBe(true);
    // 1,600 statements with parameters of their own, eight at a time and more.
    await Promise.all(
      guards.map(async (guard, n) => {
        for (let round = 0; round < 4; round++) {
          await Promise.all(
            claims[n].claims.map(async (claim) => {
              await claim.update({
                qrCode: `${claim.agentId}:${round}`,
                phoneNumber: `${n}${round}`,
              });
              const owner = await guards[(n + 1) % 8].getOwner(claim.agentId);
              expect(owner).toMatchObject({
                instanceId: guard.instanceId,
                fencingToken: claim.fencingToken,
              });
            }),
          );
        }
      }),
    );
    const { rows } = await database.query(
      'SELECT agent_id, qr_code, phone_number FROM whatsapp_sessions',
    );
    expect(rows).toHaveLength(200);
    for (const row of rows) {
      expect(row.qr_code).toBe(`${row.agent_id}:3`);
      expect(row.phone_number).toBe(`${row.agent_id[1]}3`);
    }
    expect(claims.flatMap(({ claims: held }) => held).every(({ held }) => held)).toBe(true);
    await Promise.all(guards.map((guard) => guard.shutdown()));
  });

  test('a release is told to watchers, by polling', async () => {
    const [one, two] = [through(), through()];
    const claim = await one.claimInstance('polled');
    let told;
    const heard = new Promise((resolve) => (told = resolve));
    const stop = two.watchOwnership((freed) => freed.agentIds.includes('polled') && told(freed));
    await stop.ready;
    await claim.release();
    expect(await heard).toMatchObject({ agentIds: ['polled'], reason: 'released' });
  });

  test('one winner for each of 500 agents', async () => {
    const agents = Array.from({ length: 500 }, (_, n) => `crowd-${n}`);
    const guards = Array.from({ length: 4 }, () => through());
    const answers = await Promise.all(guards.map((guard) => guard.claimInstances(agents)));
    const winners = answers.flatMap(({ claims }) => claims.map(({ agentId }) => agentId));
    expect([...winners].sort()).toEqual([...agents].sort());
  });
});

describe('TLS', () => {
  let server;

  beforeAll(async () => {
    server = await startPostgres({ tls: true });
    const guard = createGuard({ databaseUrl: server.url(), logger: SILENT });
    await guard.migrate();
    await guard.shutdown();
  });

  const withMode = (mode) => {
    const url = new URL(server.url());
    url.searchParams.set('sslmode', mode);
    return url.href;
  };

  test('sslmode=require encrypts, whoever signed the certificate', async () => {
    const guard = guardsOn({ url: withMode('require') })();
    await guard.claimInstance('encrypted');
    await withClient(server.url(), async (client) => {
      const { rows } = await client.query(
        `SELECT bool_and(ssl) AS all FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'baileys-guard'`,
      );
      expect(rows).toEqual([{ all: true }]);
    });
  });

  test('sslmode=verify-full refuses a certificate that nobody known has signed', async () => {
    const guard = guardsOn({ url: withMode('verify-full') })();
    await expect(guard.claimInstance('unverified')).rejects.toMatchObject({
      code: 'ERR_DATABASE_UNAVAILABLE',
    });
  });
});
