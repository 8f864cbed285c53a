'use strict';

/**
 * A process with real Baileys sockets, driven by a jest test over IPC: jest itself cannot load
 * Baileys on Node 20. It ends when the test's process lets go of it, however that ends.
 *
 * Each command `{ id, command, name, … }` is about the socket `name` and is answered with
 * `{ id, value }` or `{ id, error }`. What sockets tell comes as `{ name, event, … }`.
 */

const baileys = require('baileys');
const { trustEndpoint } = require('../../examples/whatsapp-endpoint/trust');

trustEndpoint(baileys);

const SILENT = { level: 'silent', child: () => SILENT };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) SILENT[level] = () => {};

/** libsignal prints whole sessions. */
console.info = () => {};

const states = new Map();
const sockets = new Map();

/** The credentials and keys called `name`: in memory, or in Baileys' files in `folder`. */
async function loadState(name, folder) {
  if (folder) {
    const { state, saveCreds } = await baileys.useMultiFileAuthState(folder);
    return { auth: state, save: saveCreds };
  }
  if (!states.has(name)) {
    const kept = new Map();
    const keys = {
      get: async (type, ids) =>
        Object.fromEntries(
          ids.map((id) => [id, kept.get(`${type}/${id}`)]).filter(([, value]) => value != null),
        ),
      set: async (data) => {
        for (const [type, values] of Object.entries(data)) {
          for (const [id, value] of Object.entries(values)) kept.set(`${type}/${id}`, value);
        }
      },
    };
    states.set(name, { auth: { creds: baileys.initAuthCreds(), keys }, save: async () => {} });
  }
  return states.get(name);
}

const commands = {
  /** Opens a socket, with the credentials of its name or of another; events tell what happens. */
  async connect({ name, credentials = name, url, folder, config }) {
    const { auth, save } = await loadState(credentials, folder);
    const sock = baileys.makeWASocket({ auth, waWebSocketUrl: url, logger: SILENT, ...config });
    sockets.set(name, sock);
    const tell = (event, fields) => process.send({ name, event, ...fields });
    let saved = Promise.resolve();
    sock.ev.on('creds.update', ({ myAppStateKeyId }) => {
      saved = saved.then(save);
      if (myAppStateKeyId) tell('app state key', { keyId: myAppStateKeyId });
    });
    sock.ev.on('connection.update', async ({ connection, qr, lastDisconnect, isNewLogin }) => {
      await saved;
      const statusCode = lastDisconnect?.error?.output?.statusCode;
      const message = lastDisconnect?.error?.message;
      if (qr) tell('qr', { qr });
      if (isNewLogin) tell('paired', { jid: sock.user?.id });
      if (connection) tell(connection, { statusCode, message, jid: sock.user?.id });
    });
    sock.ev.on('messages.upsert', ({ messages, type }) => {
      for (const { key, message, status } of messages) {
        const text = message?.conversation || message?.extendedTextMessage?.text;
        const { id, remoteJid: from, fromMe } = key;
        tell('message', { messageId: id, text, type, from, fromMe, status });
      }
    });
    sock.ev.on('messages.update', (updates) => {
      for (const { key, update } of updates) {
        tell('update', { messageId: key.id, status: update.status });
      }
    });
    sock.ws.on('unexpected-response', (request, response) => {
      response.resume();
      tell('refused', { status: response.statusCode });
    });
  },

  async send({ name, to, text }) {
    const sent = await sockets.get(name).sendMessage(to, { text });
    return sent.key.id;
  },

  onWhatsApp: ({ name, number }) => sockets.get(name).onWhatsApp(number),

  logout: ({ name }) => sockets.get(name).logout(),

  end: ({ name }) => sockets.get(name).end(undefined),

  creds({ name }) {
    const { creds } = states.get(name).auth;
    return { me: creds.me, account: Boolean(creds.account) };
  },
};

process.on('message', async ({ id, command, ...args }) => {
  try {
    process.send({ id, value: await commands[command](args) });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
process.on('disconnect', () => process.exit());
process.send({ event: 'ready' });
