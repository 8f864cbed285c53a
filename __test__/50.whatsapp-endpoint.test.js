'use strict';

/** The offline endpoint plays a session's whole life with the real client, in processes of its own. */

const { execFile } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { spawnEndpoint, trustEndpoint } = require('../examples/whatsapp-endpoint');
const { keyPairFor, rootKey, verify } = require('../examples/whatsapp-endpoint/keys');
const { ClientProcess, pair } = require('./support/whatsapp-clients');

const run = promisify(execFile);
const REPOSITORY = path.join(__dirname, '..');
const CONTACT = '491712345678';
const DELIVERED = 3;

let endpoint;
let client;
let folder;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'whatsapp-endpoint-'));
  endpoint = await spawnEndpoint();
  client = await ClientProcess.start(endpoint.url);
});

afterAll(async () => {
  const errors = await endpoint.events({ type: 'error' });
  await ClientProcess.stopAll();
  await endpoint.close();
  fs.rmSync(folder, { recursive: true });
  expect(errors.map(({ error }) => error)).toEqual([]);
});

const events = async (type, jid) => (await endpoint.events({ type })).filter((e) => e.jid === jid);

test('a client pairs by QR code, is told 515, connects again and is open', async () => {
  const linked = await pair(endpoint, client, 'first');
  expect(linked).toEqual({
    jid: '4915100000001:1@s.whatsapp.net',
    lid: '774915100000001:1@lid',
    phone: '4915100000001',
  });
  const { me, account } = await client.call('creds', { name: 'first' });
  expect(me).toMatchObject({ id: linked.jid, lid: linked.lid });
  expect(account).toBe(true);
  expect(await client.next('first', 'app state key')).toMatchObject({ keyId: 'AAAAAAAB' });
  const stats = await endpoint.stats();
  expect(stats).toMatchObject({ upgrades: 2, registrations: 1, pairings: 1, logins: 1, online: 1 });
  expect(await events('prekeys', linked.jid)).toMatchObject([{ uploaded: 812 }]);

  const [scan] = await events('scan', linked.jid);
  const [active] = await events('active', linked.jid);
  const ms = Math.round(active.monoMs - scan.monoMs);
  process.stderr.write(`QR code scanned to logged in and active: ${ms} ms\n`);
});

test('a sent message is acknowledged, read by the contact and reported as delivered', async () => {
  await pair(endpoint, client, 'sender');
  for (const text of ['Grüße', 'a second one']) {
    const id = await client.call('send', { name: 'sender', to: `${CONTACT}@s.whatsapp.net`, text });
    expect(await endpoint.waitFor((e) => e.type === 'message' && e.id === id)).toMatchObject({
      text,
      copies: 2, // one for the contact, one for the own phone
    });
    await client.waitFor((e) => e.messageId === id && e.status === DELIVERED);
  }
  expect((await endpoint.stats()).devices['4915100000002:1@s.whatsapp.net'].messages).toBe(2);
});

test('a contact answers in the same conversation', async () => {
  const { jid } = await pair(endpoint, client, 'chat', { phone: '4917600000001' });
  expect(jid).toBe('4917600000001:1@s.whatsapp.net');
  const to = `${CONTACT}@s.whatsapp.net`;
  await client.call('send', { name: 'chat', to, text: 'ping' });
  for (const text of ['pong', 'pong again']) {
    const { id } = await endpoint.sendText(jid, text, { from: CONTACT });
    expect(await client.waitFor((e) => e.text === text)).toMatchObject({ name: 'chat', from: to });
    expect(await endpoint.waitFor((e) => e.type === 'delivered' && e.id === id)).toBeTruthy();
  }
  const id = await client.call('send', { name: 'chat', to, text: 'thanks' });
  const seen = await endpoint.waitFor((e) => e.type === 'message' && e.id === id);
  expect(seen.text).toBe('thanks');
});

test('two linked clients write to each other', async () => {
  const anna = await pair(endpoint, client, 'anna');
  const ben = await pair(endpoint, client, 'ben');
  const send = (name, to, text) =>
    client.call('send', { name, to: `${to.phone}@s.whatsapp.net`, text });
  await send('anna', ben, 'hello Ben');
  await client.waitFor((e) => e.name === 'ben' && e.text === 'hello Ben');
  await send('ben', anna, 'hello Anna');
  await client.waitFor((e) => e.name === 'anna' && e.text === 'hello Anna');
});

test('a second client of the same phone is a device of its own, and sees what the first sends', async () => {
  const one = await pair(endpoint, client, 'one');
  const two = await pair(endpoint, client, 'two', { phone: one.phone });
  expect([one.jid, two.jid]).toEqual([
    `${one.phone}:1@s.whatsapp.net`,
    `${one.phone}:2@s.whatsapp.net`,
  ]);
  const to = `${CONTACT}@s.whatsapp.net`;
  const id = await client.call('send', { name: 'one', to, text: 'from my other device' });
  expect(await client.waitFor((e) => e.name === 'two' && e.messageId === id)).toMatchObject({
    text: 'from my other device',
    from: to,
    fromMe: true,
  });
  await endpoint.sendText(one.phone, 'to both');
  for (const name of ['one', 'two']) {
    await client.waitFor((e) => e.name === name && e.text === 'to both');
  }
});

test('another process logs in with the saved state, without a QR code', async () => {
  const file = path.join(folder, 'saved');
  const first = await ClientProcess.start(endpoint.url);
  const { jid } = await pair(endpoint, first, 'a', { file });
  await first.call('send', { name: 'a', to: `${CONTACT}@s.whatsapp.net`, text: 'before' });
  await first.stop();

  await endpoint.waitFor((e) => e.type === 'close' && e.jid === jid && e.by === 'client');
  await endpoint.sendText(jid, 'while you were away');
  const second = await ClientProcess.start(endpoint.url);
  await second.connect('a', { file });
  await second.next('a', 'open');
  await second.waitFor((e) => e.text === 'while you were away' && e.type === 'append');
  const to = `${CONTACT}@s.whatsapp.net`;
  const id = await second.call('send', { name: 'a', to, text: 'after' });
  const seen = await endpoint.waitFor((e) => e.type === 'message' && e.id === id);
  expect(seen.text).toBe('after');
  expect(second.events('a').filter(({ event }) => event === 'qr')).toEqual([]);
  expect((await endpoint.stats()).devices[jid]).toMatchObject({ logins: 2, conflicts: 0 });
  await second.stop();
});

test('a client that logs out, and one that is removed, get 401 at once and at the next login', async () => {
  const leaving = await pair(endpoint, client, 'leaving');
  const removed = await pair(endpoint, client, 'removed');
  await client.call('logout', { name: 'leaving' });
  expect(await endpoint.removeDevice(removed.phone)).toEqual([removed.jid]);
  for (const name of ['leaving', 'removed']) {
    await client.waitFor((e) => e.name === name && e.event === 'close' && e.statusCode === 401);
    const after = client.mark();
    await client.connect(name);
    expect(await client.next(name, 'close', { after })).toMatchObject({ statusCode: 401 });
  }
  const { devices } = await endpoint.stats();
  expect(devices[leaving.jid]).toMatchObject({ removed: true, logins: 1, loginFailures: 1 });
  expect(devices[removed.jid]).toMatchObject({ removed: true, logins: 1, loginFailures: 1 });
  await expect(endpoint.sendText(removed.jid, 'anybody?')).rejects.toThrow('no linked device');
});

test('an endpoint that is killed knows its devices again from its state file', async () => {
  const state = path.join(folder, 'endpoint.state');
  const before = await spawnEndpoint({ state });
  const { jid } = await pair(before, client, 'kept', { url: before.url });
  const to = `${CONTACT}@s.whatsapp.net`;
  await client.call('send', { name: 'kept', to, text: 'one' });
  await before.sendText(jid, 'two', { from: CONTACT });
  await client.waitFor((e) => e.name === 'kept' && e.text === 'two');
  process.kill(before.pid, 'SIGKILL');
  await client.waitFor((e) => e.name === 'kept' && e.statusCode === 428);

  const again = await spawnEndpoint({ state });
  const after = client.mark();
  await client.connect('kept', { url: again.url });
  await client.next('kept', 'open', { after });
  const id = await client.call('send', { name: 'kept', to, text: 'three' });
  const seen = await again.waitFor((e) => e.type === 'message' && e.id === id);
  expect(seen.text).toBe('three');
  await client.call('end', { name: 'kept' });
  await again.close();
});

test('the QR code counts once, for the client that shows it', async () => {
  await client.connect('shown');
  const { qr } = await client.next('shown', 'qr');
  await expect(endpoint.scan('nonsense')).rejects.toThrow('not the QR code of a linked device');
  await expect(endpoint.scan(qr, { phone: 'x' })).rejects.toThrow('not a phone number');
  await endpoint.scan(qr);
  await expect(endpoint.scan(qr)).rejects.toThrow(/already scanned|no client shows/);

  await client.connect('gone');
  const { qr: old } = await client.next('gone', 'qr');
  await client.call('end', { name: 'gone' });
  await client.next('gone', 'close');
  await endpoint.waitFor((e) => e.type === 'close' && e.by === 'client' && e.jid === undefined);
  await expect(endpoint.scan(old)).rejects.toThrow('no client shows this QR code now');
});

test('the test root is trusted for an address of this machine only', () => {
  const real = Buffer.from('real');
  for (const url of ['ws://127.0.0.1:1', 'ws://localhost:1/ws', 'ws://[::1]:1']) {
    const baileys = { WA_CERT_DETAILS: { PUBLIC_KEY: real } };
    trustEndpoint(baileys, url);
    expect(baileys.WA_CERT_DETAILS.PUBLIC_KEY.equals(rootKey.public)).toBe(true);
  }
  const elsewhere = [
    'wss://web.whatsapp.com/ws/chat',
    'ws://127.0.0.1.example.com',
    'ws://10.0.0.1',
  ];
  for (const url of [...elsewhere, 'http://127.0.0.1', 'nonsense', undefined]) {
    const baileys = { WA_CERT_DETAILS: { PUBLIC_KEY: real } };
    expect(() => trustEndpoint(baileys, url)).toThrow('loopback WebSocket address only');
    expect(baileys.WA_CERT_DETAILS.PUBLIC_KEY).toBe(real);
  }
});

test('preload.js gives the root to an application that knows nothing of it', async () => {
  const preload = path.join(REPOSITORY, 'examples/whatsapp-endpoint/preload.js');
  const program = "console.log(require('baileys').WA_CERT_DETAILS.PUBLIC_KEY.toString('hex'))";
  const rootOf = async (url) => {
    const env = { ...process.env, WA_WEBSOCKET_URL: url };
    const options = { cwd: REPOSITORY, env };
    return (await run(process.execPath, ['-r', preload, '-e', program], options)).stdout.trim();
  };
  const root = rootKey.public.toString('hex');
  expect(await rootOf('ws://127.0.0.1:9')).toBe(root);
  expect(await rootOf('wss://web.whatsapp.com/ws/chat')).not.toBe(root);
});

test('the keys are real: what they sign and agree on, libsignal signs and agrees on too', async () => {
  const program = `
    const { curve } = require('libsignal');
    const { keyPairFor, verify } = require('./examples/whatsapp-endpoint/keys');
    const hex = (bytes) => Buffer.from(bytes).toString('hex');
    const results = [];
    for (let i = 0; i < 8; i++) {
      const ours = keyPairFor('some label ' + i);
      const theirs = curve.generateKeyPair();
      const prefixed = Buffer.concat([Buffer.from([5]), ours.public]);
      const [message, other] = [Buffer.from('message ' + i), Buffer.from('another')];
      const [signed, signedByThem] = [ours.sign(message), curve.calculateSignature(theirs.privKey, message)];
      results.push({
        public: hex(ours.public),
        accepted: curve.verifySignature(prefixed, message, signed),
        forgedAccepted: curve.verifySignature(prefixed, other, signed),
        verified: verify(theirs.pubKey.subarray(1), message, signedByThem),
        forgedVerified: verify(theirs.pubKey.subarray(1), other, signedByThem),
        agreed: hex(curve.calculateAgreement(theirs.pubKey, ours.private))
          === hex(curve.calculateAgreement(prefixed, theirs.privKey)),
      });
    }
    console.log(JSON.stringify(results));`;
  const { stdout } = await run(process.execPath, ['-e', program], { cwd: REPOSITORY });
  const results = JSON.parse(stdout);
  expect(results).toHaveLength(8);
  for (const [i, result] of results.entries()) {
    expect(result).toEqual({
      public: keyPairFor(`some label ${i}`).public.toString('hex'),
      accepted: true,
      forgedAccepted: false,
      verified: true,
      forgedVerified: false,
      agreed: true,
    });
  }
});

test('the certificate chain leads from the test root to the key of the handshake', async () => {
  const program = `
    const { proto } = require('baileys');
    const { makeServerIdentity } = require('./examples/whatsapp-endpoint/noise');
    const { staticKey, chain } = makeServerIdentity({ proto });
    const { intermediate, leaf } = proto.CertChain.decode(chain);
    const read = (one) => proto.CertChain.NoiseCertificate.Details.decode(one.details);
    const plain = (one) => ({
      details: Buffer.from(one.details).toString('hex'),
      signature: Buffer.from(one.signature).toString('hex'),
      key: Buffer.from(read(one).key).toString('hex'),
      issuerSerial: read(one).issuerSerial,
    });
    console.log(JSON.stringify({
      static: staticKey.public.toString('hex'), intermediate: plain(intermediate), leaf: plain(leaf),
    }));`;
  const { stdout } = await run(process.execPath, ['-e', program], { cwd: REPOSITORY });
  const chain = JSON.parse(stdout);
  const bytes = (hex) => Buffer.from(hex, 'hex');
  const signedBy = (key, { details, signature }) => verify(key, bytes(details), bytes(signature));
  expect(chain.intermediate.issuerSerial).toBe(0);
  expect(chain.leaf.key).toBe(chain.static);
  expect(signedBy(rootKey.public, chain.intermediate)).toBe(true);
  expect(signedBy(bytes(chain.intermediate.key), chain.leaf)).toBe(true);
  expect(signedBy(rootKey.public, chain.leaf)).toBe(false);
});

describe('as a command', () => {
  const ENTRY = path.join(REPOSITORY, 'examples/whatsapp-endpoint');

  test('it says where it listens, answers there, and ends when asked to', async () => {
    const child = execFile(process.execPath, [ENTRY]);
    const [first] = await once(child.stdout, 'data');
    const url = /WA_WEBSOCKET_URL=(ws:\S+)/.exec(first)[1];
    const control = /control\s+(http:\S+)/.exec(first)[1];
    expect((await (await fetch(`${control}/stats`)).json()).logins).toBe(0);
    expect((await fetch(url.replace('ws:', 'http:'))).status).toBe(426);
    expect((await fetch(`${control}/nothing`)).status).toBe(404);
    const bad = await fetch(`${control}/scan`, { method: 'POST', body: '[1' });
    expect(bad.status).toBe(400);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('it refuses options that it does not know', async () => {
    await expect(run(process.execPath, [ENTRY, '--nonsense'])).rejects.toMatchObject({ code: 1 });
    await expect(run(process.execPath, [ENTRY, '--port', 'x'])).rejects.toMatchObject({
      stderr: '--port is not a whole number: x\n',
    });
  });

  test('it ends with the process that started it, however that ends', async () => {
    const program = `
      const { spawnEndpoint } = require('./examples/whatsapp-endpoint');
      spawnEndpoint().then(({ pid }) => { console.log(pid); process.kill(process.pid, 'SIGKILL'); });`;
    const parent = execFile(process.execPath, ['-e', program], { cwd: REPOSITORY });
    // The endpoint inherits standard error: it is closed when both processes have ended.
    const ended = once(parent.stderr, 'close');
    parent.stderr.resume();
    expect(Number((await once(parent.stdout, 'data'))[0])).toBeGreaterThan(1);
    await ended;
  });
});

test('the log is ordered, filtered, and waited on', async () => {
  const all = await endpoint.events();
  expect(all.map(({ seq }) => seq)).toEqual(all.map((_, index) => index + 1));
  for (const [index, { at, monoMs }] of all.entries()) {
    expect(Math.abs(Date.now() - at)).toBeLessThan(300_000);
    expect(monoMs).toBeLessThanOrEqual(Number(process.hrtime.bigint()) / 1e6);
    if (index) expect(monoMs).toBeGreaterThanOrEqual(all[index - 1].monoMs);
  }
  const since = all.at(-1).seq;
  expect(await endpoint.events({ since })).toEqual([]);
  expect(await endpoint.waitFor(() => true, { since, timeoutMs: 50 })).toBe(null);
  const next = endpoint.waitFor((e) => e.type === 'heal', { since });
  await endpoint.heal();
  expect(await next).toMatchObject({ seq: since + 1, type: 'heal' });
});
