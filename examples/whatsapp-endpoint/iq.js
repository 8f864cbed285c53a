'use strict';

/**
 * What the server answers to an `<iq>`: a table from namespace, type and first child to the content
 * of the result. Anything not listed gets an empty result, which is all that a client waits for in
 * most cases. What would mislead it (media, which is not played) gets an error instead.
 */

const { parse, pnJid, lidJid } = require('./addresses');
const { SERVER, node, child, children, readKey, keyNode } = require('./stanzas');

/** Signal's key type, Curve25519 ("DJB"). */
const KEY_TYPE = Buffer.from([5]);

const PRIVACY = ['readreceipts', 'last', 'online', 'profile', 'status', 'groupadd', 'calladd'];

/** An error result: what the client's query rejects with. */
class IqError extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

const ANSWERS = {
  'w:p get ping': (world, connection) => {
    world.stats.count('pings', connection.device.jid);
  },

  'encrypt get count': (world, { device }) => [
    node('count', { value: String(device.preKeys.size) }),
  ],

  'encrypt get digest': (world, { device }) => {
    const keys = device.publicKeys();
    if (!keys) throw new IqError(404, 'item-not-found');
    return [
      node('digest', {}, [
        node('registration', {}, keys.registration),
        node('type', {}, KEY_TYPE),
        node('identity', {}, keys.identity),
        keyNode('skey', keys.signedPreKey),
        node(
          'list',
          {},
          keys.preKeyIds.map((id) => node('id', {}, id)),
        ),
      ]),
    ];
  },

  'encrypt set registration': (world, { device }, iq) => {
    const preKeys = children(child(iq, 'list'), 'key').map(readKey);
    device.storeKeys({
      registration: child(iq, 'registration').content,
      identity: child(iq, 'identity').content,
      signedPreKey: readKey(child(iq, 'skey')),
      preKeys,
    });
    world.log.add('prekeys', { jid: device.jid, uploaded: preKeys.length });
  },

  'encrypt set rotate': (world, { device }, iq) => {
    device.rotateSignedPreKey(readKey(child(child(iq, 'rotate'), 'skey')));
  },

  'encrypt get key': (world, connection, iq) => [
    node(
      'list',
      {},
      children(child(iq, 'key'), 'user').map(({ attrs }) => bundleNode(world, attrs.jid)),
    ),
  ],

  'usync get usync': (world, connection, iq) => {
    const usync = child(iq, 'usync');
    const protocols = children(child(usync, 'query')).map(({ tag }) => tag);
    const users = children(child(usync, 'list'), 'user');
    const { sid, mode, context } = usync.attrs;
    return [
      node('usync', { sid, mode, context, last: 'true', index: '0' }, [
        node('list', {}, users.map((user) => userNode(world, user, protocols)).filter(Boolean)),
      ]),
    ];
  },

  'w:sync:app:state set sync': (world, connection, iq) => [
    node(
      'sync',
      {},
      children(child(iq, 'sync'), 'collection').map(({ attrs: { name, version } }) =>
        node('collection', { name, version }),
      ),
    ),
  ],

  'abt get props': () => [node('props', { protocol: '1' })],

  'blocklist get': () => [node('list')],

  'privacy get privacy': () => [
    node(
      'privacy',
      {},
      PRIVACY.map((name) => node('category', { name, value: 'all' })),
    ),
  ],

  'w:g2 get participating': () => [node('groups')],

  'w:m set media_conn': () => {
    throw new IqError(501, 'feature-not-implemented');
  },
};

/** What an `<iq>` sets off, once its result is on the way. */
const AFTERWARDS = {
  'passive set active': (world, connection) => world.activated(connection),
  'md set remove-companion-device': (world, connection) => world.loggedOut(connection),
};

function bundleNode(world, jid) {
  const parsed = parse(jid);
  const bundle =
    parsed && parsed.device === 0
      ? world.phones.get(parsed.number).bundle()
      : world.devices.get(jid)?.takeBundle();
  if (!bundle) {
    return node('user', { jid }, [node('error', { code: '404', text: 'item-not-found' })]);
  }
  const parts = [
    node('registration', {}, bundle.registration),
    node('type', {}, KEY_TYPE),
    node('identity', {}, bundle.identity),
    keyNode('skey', bundle.signedPreKey),
  ];
  if (bundle.preKey) parts.push(keyNode('key', bundle.preKey));
  return node('user', { jid }, parts);
}

/** One user of a usync query, asked for by address or by phone number. */
function userNode(world, user, protocols) {
  const phone = child(user, 'contact')?.content;
  const asked = user.attrs.jid ?? pnJid(String(phone ?? '').replace(/\D/g, ''));
  const parsed = parse(asked);
  if (!parsed) return null;
  const { number } = parsed;
  const results = {
    contact: () => node('contact', { type: 'in' }),
    lid: () => node('lid', { val: lidJid(number) }),
    devices: () => node('devices', {}, [deviceList(world, number)]),
  };
  const known = protocols.filter((name) => Object.hasOwn(results, name));
  return node(
    'user',
    { jid: asked },
    known.map((name) => results[name]()),
  );
}

function deviceList(world, number) {
  const linked = world.devices.ofNumber(number);
  return node('device-list', {}, [
    node('device', { id: '0' }),
    ...linked.map(({ record: { device } }) =>
      node('device', { id: String(device), 'key-index': String(device) }),
    ),
  ]);
}

/** Answers an `<iq>` of a logged-in client. */
function answerIq(world, connection, iq) {
  const { id, type, xmlns } = iq.attrs;
  if (type !== 'get' && type !== 'set') return; // a result of ours, nothing to answer
  const first = children(iq)[0]?.tag;
  const key = first ? `${xmlns} ${type} ${first}` : `${xmlns} ${type}`;
  const answer = Object.hasOwn(ANSWERS, key) ? ANSWERS[key] : () => undefined;
  try {
    const content = answer(world, connection, iq);
    connection.send(node('iq', { from: SERVER, type: 'result', id }, content ?? undefined));
  } catch (error) {
    if (!(error instanceof IqError)) throw error;
    const content = [node('error', { code: String(error.code), text: error.message })];
    connection.send(node('iq', { from: SERVER, type: 'error', id }, content));
  }
  if (Object.hasOwn(AFTERWARDS, key)) AFTERWARDS[key](world, connection);
}

module.exports.answerIq = answerIq;
