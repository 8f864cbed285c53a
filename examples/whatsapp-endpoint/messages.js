'use strict';

/**
 * Carries messages: from a client to simulated phones and to other clients, and from a simulated
 * phone to a client.
 *
 * A message is acknowledged as soon as it is here. What is for a client waits in `device.waiting`
 * until that client confirms it, and goes out again at its next login: delivered at least once.
 */

const { parse, parseTarget, pnJid, lidJid } = require('./addresses');
const { node, child, children, unixSeconds } = require('./stanzas');

/** The contact that writes when a test does not say who. */
const SENDER = '491700000001';

class Messages {
  #world;
  #sent = 0;

  constructor(world) {
    this.#world = world;
  }

  /** A `<message>` from a client. */
  async receive(connection, stanza) {
    const world = this.#world;
    const sender = connection.device;
    const { id, to } = stanza.attrs;
    world.stats.count('messages', sender.jid);
    connection.send(node('ack', { class: 'message', id, from: to, t: unixSeconds() }));
    const event = { conn: connection.id, jid: sender.jid, to, id };
    const copies = copiesOf(stanza);
    const opened = [];
    for (const { jid, enc } of copies) {
      const recipient = parse(jid);
      if (!recipient || !enc) continue;
      if (recipient.device > 0) this.#forward(sender, stanza, jid, enc);
      else opened.push(await this.#open(sender, recipient, enc));
    }
    const forRecipient = opened.find((one) => one.number === parse(to)?.number);
    const { text, error } = forRecipient ?? {};
    world.log.add('message', { ...event, copies: copies.length, text, error });
    if (forRecipient && !error && forRecipient.number !== sender.number) {
      connection.send(node('receipt', { from: to, id, t: unixSeconds() }));
    }
  }

  /** A `<receipt>` or `<ack>` from a client: the stanza it names has arrived. */
  confirm(connection, { tag, attrs }) {
    const { device } = connection;
    if (tag === 'receipt') {
      connection.send(
        node('ack', { class: 'receipt', id: attrs.id, from: attrs.to, type: attrs.type }),
      );
    }
    if (!device.waiting.delete(attrs.id)) return;
    const failed = tag === 'ack' && attrs.error;
    this.#world.log.add('delivered', { jid: device.jid, id: attrs.id, error: failed || undefined });
  }

  /** Sends a text from a simulated phone, a contact's by default, to each of these devices. */
  async sendText(devices, text, { from: sender = SENDER } = {}) {
    const from = parseTarget(sender).number;
    const message = this.#world.baileys.proto.Message.fromObject({ conversation: String(text) });
    const id = this.#newId();
    for (const device of devices) {
      const attrs = { sender_lid: lidJid(from), notify: `Contact ${from}`, type: 'text', id };
      await this.#post(device, from, attrs, message);
    }
    return { id, from: pnJid(from), to: devices.map(({ jid }) => jid) };
  }

  /** What the own phone of a newly linked device tells it first. */
  async introduce(device) {
    for (const message of this.#world.phones.introduction()) {
      const attrs = { category: 'peer', type: 'text', id: this.#newId() };
      await this.#post(device, device.number, attrs, message);
    }
  }

  /** Sends what waited for a device that has just come online, then says that this was all. */
  flush(connection) {
    const { waiting } = connection.device;
    for (const stanza of waiting.values()) {
      connection.send({ ...stanza, attrs: { ...stanza.attrs, offline: '0' } });
    }
    const offline = node('offline', { count: String(waiting.size) });
    connection.send(node('ib', { from: 's.whatsapp.net' }, [offline]));
  }

  async #post(device, fromNumber, attrs, message) {
    const { type, ciphertext } = await this.#world.phones.get(fromNumber).seal(device, message);
    const enc = node('enc', { v: '2', type }, ciphertext);
    this.#deliver(device, node('message', { ...attrs, from: pnJid(fromNumber) }, [enc]));
  }

  #forward(sender, stanza, jid, enc) {
    const device = this.#world.devices.get(jid);
    if (!device) return;
    const { id, to, type } = stanza.attrs;
    const own = device.number === sender.number;
    const attrs = {
      from: sender.jid,
      sender_lid: lidJid(sender.number),
      recipient: own ? to : undefined,
      id,
      type,
    };
    this.#deliver(
      device,
      node('message', attrs, [enc, child(stanza, 'device-identity')].filter(Boolean)),
    );
  }

  #deliver(device, stanza) {
    stanza.attrs.t = unixSeconds();
    device.waiting.set(stanza.attrs.id, stanza);
    const connection = this.#world.live.get(device.jid);
    if (connection?.active) connection.send(stanza);
  }

  /** A copy that a simulated phone gets: `text` is what it reads, `error` why it cannot. */
  async #open(sender, { number }, enc) {
    try {
      const phone = this.#world.phones.get(number);
      const { type } = enc.attrs;
      const message = await phone.open(sender.lid, { type, ciphertext: enc.content });
      return { number, text: textOf(message) };
    } catch (error) {
      return { number, error: error.message };
    }
  }

  #newId() {
    this.#sent += 1;
    return `3A${Date.now().toString(16)}${String(this.#sent).padStart(6, '0')}`.toUpperCase();
  }
}

/** The encrypted copies in a message: one for each device, or a single one for the addressee. */
function copiesOf(stanza) {
  const single = child(stanza, 'enc');
  const participants = children(child(stanza, 'participants'), 'to');
  if (participants.length === 0) return single ? [{ jid: stanza.attrs.to, enc: single }] : [];
  return participants.map((to) => ({ jid: to.attrs.jid, enc: child(to, 'enc') }));
}

function textOf(message) {
  const inner = message.deviceSentMessage?.message ?? message;
  return inner.conversation || inner.extendedTextMessage?.text || undefined;
}

module.exports.Messages = Messages;
