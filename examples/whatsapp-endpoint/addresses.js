'use strict';

/**
 * Numbers and addresses of the simulated network.
 *
 * A user has a phone number (PN, `49151…@s.whatsapp.net`) and a hidden id (LID, `77…@lid`), here the
 * number behind a fixed prefix, so that each can be told from the other. Device 0 is the phone, which
 * is always simulated; devices from 1 on are linked clients, `user:device@server`.
 */

const LID_PREFIX = '77';
const FIRST_NUMBER = 4915100000000;

/** The number given to the nth phone that scans without naming its own, from 1 on. */
function numberOf(n) {
  return String(FIRST_NUMBER + n);
}

function parse(jid) {
  const match = /^(\d+)(?::(\d+))?@(s\.whatsapp\.net|c\.us|lid)$/.exec(jid ?? '');
  if (!match) return null;
  const [, user, device = '0', server] = match;
  const number = server === 'lid' ? user.slice(LID_PREFIX.length) : user;
  if (server === 'lid' && !user.startsWith(LID_PREFIX)) return null;
  return { number, device: Number(device), isLid: server === 'lid' };
}

function address(user, device, server) {
  return device ? `${user}:${device}@${server}` : `${user}@${server}`;
}

function pnJid(number, device = 0) {
  return address(number, device, 's.whatsapp.net');
}

function lidJid(number, device = 0) {
  return address(LID_PREFIX + number, device, 'lid');
}

/**
 * Reads what a test calls a device: its number, its phone's address or its own.
 * A number or a phone's address means every device linked to it.
 * @returns {{ number: string, device: number }} device 0 for all
 */
function parseTarget(target) {
  const jid = toJid(String(target));
  if (!jid) throw new TypeError(`not a phone number or address: ${target}`);
  return parse(jid);
}

/** The address of what a test calls a device; undefined if it calls none. */
function toJid(target) {
  const parsed = /^\d+$/.test(target) ? { number: target, device: 0 } : parse(target);
  return parsed ? pnJid(parsed.number, parsed.device) : undefined;
}

/** Whether `target` (see parseTarget) means the device with this address. */
function targets(target, jid) {
  const wanted = parseTarget(target);
  const given = parse(jid);
  if (!given || given.number !== wanted.number) return false;
  return wanted.device === 0 || wanted.device === given.device;
}

module.exports.numberOf = numberOf;
module.exports.parse = parse;
module.exports.pnJid = pnJid;
module.exports.lidJid = lidJid;
module.exports.toJid = toJid;
module.exports.parseTarget = parseTarget;
module.exports.targets = targets;
