'use strict';

const { SessionRow } = require('../lib/reconnect/session-row');

test.each([0, 1, 2, 3, 4])(
  'a state that comes %i microtasks after the last one was written is written, too',
  async (ticks) => {
    const wrote = [];
    const later = async (promise) => {
      await promise;
      for (let tick = 0; tick < ticks; tick++) await undefined;
      row.write({ status: 'connected' });
    };
    const claim = {
      agentId: 'a',
      update(fields) {
        wrote.push(fields.status);
        const done = new Promise((resolve) => setImmediate(resolve));
        if (wrote.length === 1) later(done);
        return done;
      },
    };
    const row = new SessionRow(claim, { trouble: (what, error) => Promise.reject(error) });
    row.write({ status: 'connecting' });
    await row.written();
    await new Promise((resolve) => setImmediate(resolve));
    await row.written();
    expect(wrote).toEqual(['connecting', 'connected']);
  },
);
