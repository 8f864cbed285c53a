'use strict';

/**
 * A process with real Baileys sockets, driven by a jest test over IPC: jest itself cannot load
 * Baileys on Node 20. It ends when the test's process lets go of it, however that ends.
 *
 * Each command `{ id, command, name, … }` is about the socket `name` and is answered with
 * `{ id, value }` or `{ id, error }`. What sockets tell comes as `{ name, event, … }`.
 */

const fs = require('node:fs');
const baileys = require('baileys');
const { trustEndpoint } = require('../../examples/whatsapp-endpoint/trust');

trustEndpoint(baileys);

const SILENT = { level: 'silent', child: () => SILENT };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) SILENT[level] = () => {};

/** libsignal prints whole sessions. */
console.info = () => {};

const states = new Map();
const sockets = new Map();

/**
 * The credentials and keys called `name`: in memory, or in a file that is replaced as a whole at each
 * change. (Baileys' own multi-file state can be read while it is half written, and then begins anew.)
 */
function loadState(name, file) {
  const { BufferJSON, initAuthCreds } = baileys;
  if (!file && states.has(name)) return states.get(name);
  const state =
    file && fs.existsSync(file)
      ? JSON.parse(fs.readFileSync(file, 'utf8'), BufferJSON.reviver)
      : { creds: initAuthCreds(), values: {} };
  const { creds, values } = state;
  const save = () => {
    if (!file) return;
    const fresh = `${file}.${process.pid}`;
    fs.writeFileSync(fresh, JSON.stringify(state, BufferJSON.replacer));
    fs.renameSync(fresh, file);
  };
  const get = async (type, ids) => {
    const found = ids.filter((id) => values[type]?.[id] != null);
    return Object.fromEntries(found.map((id) => [id, values[type][id]]));
  };
  const set = async (data) => {
    for (const type of Object.keys(data)) values[type] = { ...values[type], ...data[type] };
    save();
  };
  const loaded = { creds, keys: { get, set }, save };
  states.set(name, loaded);
  return loaded;
}

const commands = {
  /** Opens a socket; events tell what happens to it. */
  connect({ name, url, file, config }) {
    const { save, ...auth } = loadState(name, file);
    const sock = baileys.makeWASocket({ auth, waWebSocketUrl: url, logger: SILENT, ...config });
    sockets.set(name, sock);
    const tell = (event, fields) => process.send({ name, event, ...fields });
    sock.ev.on('creds.update', ({ myAppStateKeyId }) => {
      save();
      if (myAppStateKeyId) tell('app state key', { keyId: myAppStateKeyId });
    });
    sock.ev.on('connection.update', ({ connection, qr, lastDisconnect, isNewLogin }) => {
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
    const { creds } = states.get(name);
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
process.on('error', () => process.exit()); // told too late: whoever listened has gone
process.send({ event: 'ready' });
