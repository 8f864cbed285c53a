'use strict';

// One key for one client, from its IP address.
//
// Whoever has one IPv6 address has a whole network of them, so those are counted by network. An
// IPv4 address that arrives in IPv6 clothes is the same client as without them.

const { isIPv6 } = require('node:net');

const { describe } = require('../arguments');
const { invalidArgument } = require('../errors');

/**
 * @param {string} ip usually `request.ip`
 * @param {number | false} [ipv6Subnet] bits of an IPv6 address that name the network;
 *   false for the whole address, as it was written
 * @returns {string} an IPv4 address, an IPv6 network in CIDR notation, or what was passed
 */
function ipKeyGenerator(ip, ipv6Subnet = 56) {
  if (typeof ip !== 'string' || !isIPv6(ip)) return ip;
  const { groups, dotted } = parse(ip);
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  // `::1.2.3.4` shares its range with `::1`; only who writes it with dots means IPv4.
  const compatible = dotted && groups.slice(0, 6).every((group) => group === 0);
  if (mapped || compatible) {
    return [groups[6] >> 8, groups[6] & 255, groups[7] >> 8, groups[7] & 255].join('.');
  }
  if (!ipv6Subnet) return ip;
  const bits = typeof ipv6Subnet === 'string' ? Number(ipv6Subnet) : ipv6Subnet;
  if (!Number.isInteger(bits) || bits < 1 || bits > 128) {
    const got = typeof bits === 'number' ? bits : describe(bits);
    throw invalidArgument('ipv6Subnet', `has to be a whole number from 1 to 128, not ${got}`);
  }
  return `${format(mask(groups, bits))}/${bits}`;
}

/** The eight groups of an address that `isIPv6` accepts; a zone (`%eth0`) is left out. */
function parse(ip) {
  let text = ip.split('%', 1)[0];
  const lastColon = text.lastIndexOf(':');
  const dotted = text.includes('.', lastColon);
  if (dotted) {
    const [a, b, c, d] = text
      .slice(lastColon + 1)
      .split('.')
      .map(Number);
    const [high, low] = [(a << 8) | b, (c << 8) | d].map((group) => group.toString(16));
    text = `${text.slice(0, lastColon + 1)}${high}:${low}`;
  }
  const [head, tail] = text.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = tail === undefined ? [] : Array(8 - head.length - tail.length).fill('0');
  const groups = [...head, ...zeros, ...(tail ?? [])].map((group) => Number.parseInt(group, 16));
  return { groups, dotted };
}

function mask(groups, bits) {
  return groups.map((group, i) => {
    const kept = Math.min(16, Math.max(0, bits - 16 * i));
    return group & (0xffff << (16 - kept)) & 0xffff;
  });
}

/** As RFC 5952 says: lower case, no leading zeros, the longest run of zeros as `::`. */
function format(groups) {
  let [start, length] = [0, 0];
  for (let from = 0; from < 8; from += 1) {
    let to = from;
    while (to < 8 && groups[to] === 0) to += 1;
    if (to - from > length) [start, length] = [from, to - from];
  }
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

module.exports = { ipKeyGenerator };
