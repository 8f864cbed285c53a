'use strict';

/**
 * The WhatsApp sessions of this instance.
 *
 * Every session stands on a claim: first the claim, then credentials and socket (`session.js`). So
 * at most one instance has a socket for an agent, and an agent that is not here may be elsewhere.
 */

const {
  claimInstance,
  claimInstances,
  getOwner,
  listSessions,
  shutdown,
} = require('baileys-guard');

const { AGENT_IN_USE, HttpError, ownerOf } = require('../errors');
const { Session } = require('./session');

/** Agent id → its session; one that has ended stays to tell why. */
const sessions = new Map();
let stopping = false;

/** Starts the session of a claim, unless it runs. */
function start(claim, options) {
  const known = sessions.get(claim.agentId);
  if (known?.claim === claim && !known.ended) return known;
  if (stopping) throw new HttpError(503, 'this server is shutting down');
  const session = new Session(claim, options);
  sessions.set(claim.agentId, session);
  session.open();
  return session;
}

/** Connects an agent. Rejects with AgentInUseError when another instance has it. */
async function initWhatsApp(agentId, { userId } = {}) {
  return start(await claimInstance(agentId, { userId }), { asked: true });
}

async function getStatus(agentId) {
  const session = sessions.get(agentId);
  if (session && !session.ended) return session;
  const owner = await getOwner(agentId);
  if (owner) return { agentId, status: 'owned by another instance', owner: ownerOf(owner) };
  return session ?? { agentId, status: 'disconnected' };
}

async function sendMessage(agentId, to, text) {
  const session = sessions.get(agentId);
  if (!session || session.ended) {
    const owner = await getOwner(agentId);
    if (owner) throw new HttpError(409, AGENT_IN_USE, { owner: ownerOf(owner) });
    throw new HttpError(409, 'WhatsApp is not connected');
  }
  const jid = to.includes('@') ? to : `${to.replace(/\D/g, '')}@s.whatsapp.net`;
  const sent = await session.sendMessage(jid, { text });
  return { messageId: sent.key.id };
}

/** Ends a session because its user wants it: no instance resumes it. */
async function disconnect(agentId, { logout = false } = {}) {
  const claim = await claimInstance(agentId); // ours already, or free
  const session = sessions.get(claim.agentId);
  if (logout) {
    if (!session) throw new HttpError(409, 'WhatsApp is not connected');
    await session.logout();
  } else {
    await session?.close();
  }
  await claim.release({ deactivate: true });
  return { agentId, status: 'disconnected' };
}

/** Takes over sessions that should run and that nobody owns; of these agents only, if given. */
async function resume(agentIds) {
  const active = await listSessions({ active: true });
  const free = active
    .filter(({ owner, status }) => !owner && status !== 'conflict')
    .map(({ agentId }) => agentId)
    .filter((agentId) => !agentIds || agentIds.includes(agentId));
  if (free.length === 0) return;
  const { claims } = await claimInstances(free); // another instance may have been faster with some
  for (const claim of claims) {
    console.info(`[BAILEYS] agent ${claim.agentId}: resuming its session`);
    start(claim);
  }
}

/** Closes every socket, and then lets others have the agents. */
async function stop() {
  stopping = true;
  await shutdown({ beforeRelease: ({ agentId }) => sessions.get(agentId)?.close() });
}

module.exports = { initWhatsApp, getStatus, sendMessage, disconnect, resume, stop };
