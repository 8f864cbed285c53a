'use strict';

/**
 * The WhatsApp sessions of this instance.
 *
 * The scheduler claims agents, connects them at a pace, looks after their sockets and session rows,
 * and resumes what other instances leave. What remains for here is what people ask for.
 */

const {
  claimInstance,
  createReconnectScheduler,
  getOwner,
  listSessions,
  shutdown,
} = require('baileys-guard');

const { AGENT_IN_USE, HttpError, ownerOf } = require('../errors');
const { stopSending, turnToSend } = require('../limits');
const { Sessions } = require('./sessions');
const { makeSocket } = require('./socket');

/** How long the answer to a connect waits for a QR code. */
const QR_PATIENCE_MS = 1_000;

const sessions = new Sessions();
/** Agent id → messages that are on their way. */
const sending = new Map();
let scheduler;

/** Resumes what should run, now and from now on. Rejects when the database cannot be watched. */
async function start() {
  scheduler = createReconnectScheduler({
    makeSocket({ agentId, auth, claim }) {
      const socket = makeSocket(auth);
      sessions.opened(agentId, { socket, claim });
      // Your own handlers, such as socket.ev.on('messages.upsert', …), go here.
      return socket;
    },
    onEvent: sessions.happened,
  });
  await scheduler.resumeAll();
}

/**
 * Connects an agent because a person asks for it: at once, and with a new QR code if the phone has
 * removed the device. Rejects with AgentInUseError when another instance has the agent.
 */
async function initWhatsApp(agentId, { userId } = {}) {
  if (isConnected(sessions.get(agentId))) return getStatus(agentId);
  const session = await scheduler.superviseSession(agentId, {
    userId,
    reset: true,
    pairAnew: true,
  });
  sessions.begins(session.agentId);
  await sessions.settled(session.agentId, QR_PATIENCE_MS);
  return getStatus(session.agentId);
}

async function getStatus(agentId) {
  const session = sessions.get(agentId);
  if (!session?.runs) {
    const owner = await ownerElsewhere(agentId);
    if (owner) return { agentId, status: 'owned by another instance', owner: ownerOf(owner) };
  }
  const {
    status = 'disconnected',
    qrCode = null,
    phoneNumber = null,
    reason = null,
  } = session ?? {};
  return { agentId, status, qrCode, phoneNumber, reason };
}

/** `signal` ends the waiting for the agent's turn. */
async function sendMessage(agentId, to, text, { signal } = {}) {
  await connected(agentId); // no need to wait where there is nobody to send
  await turnToSend(agentId, { signal });
  const { socket } = await connected(agentId);
  const jid = to.includes('@') ? to : `${to.replace(/\D/g, '')}@s.whatsapp.net`;
  const sent = await onItsWay(agentId, socket.sendMessage(jid, { text }));
  return { messageId: sent.key.id };
}

/** Ends a session because its user wants it: no instance resumes it. */
async function disconnect(agentId, { logout = false } = {}) {
  if (logout) await connected(agentId); // the phone can only be told through a connection
  const claim = await claimInstance(agentId); // ours already, or free
  await scheduler.cancel(claim.agentId, { deactivate: true, logout });
  return { agentId, status: 'disconnected' };
}

/** Every session there is, for a page: plain objects, one a session row. */
async function list() {
  const rows = await listSessions();
  const pending = new Map(scheduler.pending().map((one) => [one.agentId, one]));
  return rows.map((row) => {
    const { agentId, mine, owner } = row;
    const next = pending.get(agentId);
    // Others may have taken what has ended here.
    const session = mine || !owner ? sessions.get(agentId) : undefined;
    const shown = mine || next ? session : undefined;
    return {
      agentId,
      userId: row.userId ?? null,
      phoneNumber: shown?.phoneNumber ?? row.phoneNumber ?? null,
      status: shown?.status ?? statusIn(row),
      isActive: row.isActive || shown?.status === 'connected',
      mine,
      owner: owner && briefly(owner),
      qrCode: shown?.qrCode ?? null,
      attempts: next?.attempt ?? (mine ? 0 : null),
      nextTryInMs: next && !next.connecting ? next.dueInMs : null,
      reason: session?.reason ?? null,
      lastConnected: shown?.lastConnected ?? row.lastConnected,
    };
  });
}

/** What its row says. An owner that died has left there what it was doing. */
function statusIn({ owner, status }) {
  const lasts = owner || status === 'conflict' || status === 'error';
  return (lasts && status) || 'disconnected';
}

/** Lets messages go out, closes every socket, and then lets others have the agents. */
async function stop() {
  stopSending();
  await shutdown({
    beforeRelease: ({ agentId }) => Promise.allSettled(sending.get(agentId) ?? []),
  });
}

/** The session of an agent at a moment when its socket may be used. */
async function connected(agentId) {
  const session = sessions.get(agentId);
  if (isConnected(session)) return session;
  const owner = session?.runs ? null : await ownerElsewhere(agentId);
  if (owner) throw new HttpError(409, AGENT_IN_USE, { owner: ownerOf(owner) });
  const status = session ? `: ${session.status}` : '';
  throw new HttpError(409, `WhatsApp is not connected${status}`);
}

function isConnected(session) {
  return session?.status === 'connected' && session.claim.held;
}

/** The other instance that has an agent. A session that ends here is ours for a moment more. */
async function ownerElsewhere(agentId) {
  const owner = await getOwner(agentId);
  return owner?.instanceId === sessions.get(agentId)?.claim?.instanceId ? null : owner;
}

/** Remembers a message until it is sent, so that the socket is not closed over it. */
async function onItsWay(agentId, message) {
  const ours = sending.get(agentId) ?? new Set();
  sending.set(agentId, ours.add(message));
  try {
    return await message;
  } finally {
    ours.delete(message);
    if (ours.size === 0) sending.delete(agentId);
  }
}

function briefly({ instanceId, hostname, pid, heartbeatAgeMs }) {
  return { instanceId, hostname, pid, heartbeatAgeMs };
}

module.exports = {
  changes: sessions.changes,
  start,
  initWhatsApp,
  getStatus,
  sendMessage,
  disconnect,
  list,
  stop,
};
