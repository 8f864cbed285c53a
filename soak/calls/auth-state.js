'use strict';

// Baileys' auth state.

const crypto = require('node:crypto');
const path = require('node:path');

const { costly, repeat } = require('./repeat');

const COMMIT = 'every call commits to the database';
const IDS = 200;
const BAILEYS = {
  initAuthCreds: () => ({ nextPreKeyId: 1 }),
  proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
};
const HOST = { creds: { noiseKey: { public: crypto.randomBytes(32) }, me: { id: '49151@s' } } };

async function over(guard) {
  const claim = await guard.claimInstance('over');
  const auth = await guard.useGuardedAuthState(claim, { baileys: BAILEYS });
  await claim.release();
  return { claim, auth };
}

async function opened(guard, agentId) {
  const claim = await guard.claimInstance(agentId);
  return guard.useGuardedAuthState(claim, { baileys: BAILEYS });
}

const session = (n) => ({ session: { [n % IDS]: crypto.randomBytes(500) } });

const onGuard = {
  useGuardedAuthState: costly(2, 'every call asks the database', async ({ guard }) => {
    const claim = await guard.claimInstance('opened');
    return repeat(() => guard.useGuardedAuthState(claim, { baileys: BAILEYS }), {
      refused: [() => guard.useGuardedAuthState({}, { baileys: BAILEYS })],
    });
  }),
  importAuthState: costly(20, COMMIT, async ({ guard }) => {
    const claim = await guard.claimInstance('imported');
    return repeat(() => guard.importAuthState(claim, { sessionData: HOST, overwrite: true }), {
      together: 20,
      refused: [
        () => guard.importAuthState(claim, { sessionData: false }),
        () => guard.importAuthState(claim, { folder: '/nowhere at all', sessionData: false }),
      ],
    });
  }),
  exportAuthState: costly(50, 'every call writes files', async ({ guard, folder }) => {
    const claim = await guard.claimInstance('exported');
    await guard.importAuthState(claim, { sessionData: HOST, overwrite: true });
    const to = path.join(folder, 'exported');
    return repeat(() => guard.exportAuthState(claim, to), {
      together: 1,
      refused: [() => guard.exportAuthState(claim, ''), () => guard.exportAuthState({}, to)],
    });
  }),
  rotateCredentials: costly(500, 'every call reads all that is stored', ({ guard }) =>
    repeat(() => guard.rotateCredentials({ onProgress() {} }), {
      together: 1,
      refused: [() => guard.rotateCredentials({ batchSize: 0 })],
    }),
  ),
};

const others = {
  'AuthState.keys.get': costly(2, 'every call asks the database', async ({ guard }) => {
    const { state } = await opened(guard, 'read');
    await state.keys.set(session(0));
    return repeat(() => state.keys.get('session', ['0', 'none']));
  }),
  'AuthState.keys.set': costly(10, COMMIT, async ({ guard }) => {
    const { state } = await opened(guard, 'written');
    const { auth } = await over(guard);
    return repeat((n) => state.keys.set(session(n)), {
      together: 50,
      refused: [(n) => auth.state.keys.set(session(n))],
    });
  }),
  'AuthState.saveCreds': costly(10, COMMIT, async ({ guard }) => {
    const { saveCreds } = await opened(guard, 'saved');
    const { auth } = await over(guard);
    return repeat(() => saveCreds(), { together: 50, refused: [() => auth.saveCreds()] });
  }),
  'AuthState.clear': costly(20, COMMIT, async ({ guard }) => {
    const claim = await guard.claimInstance('cleared');
    const { auth } = await over(guard);
    return repeat(
      async () => {
        const { saveCreds, clear } = await guard.useGuardedAuthState(claim, { baileys: BAILEYS });
        await saveCreds();
        await clear();
      },
      { together: 10, refused: [() => auth.clear()] },
    );
  }),
};

module.exports = { onGuard, others };
