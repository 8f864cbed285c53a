'use strict';

// Values that nobody should pass, and somebody will: the same ones for the same seed.

/** What a getter, a trap or a conversion of ours throws: an error of the caller's own. */
class OwnError extends Error {}

const fail = () => {
  throw new OwnError('an error of the value itself');
};

/** A generator of random numbers, from a number. */
class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** mulberry32, up to `end` without it. */
  below(end) {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end;
  }

  pick(list) {
    return list[Math.floor(this.below(list.length))];
  }
}

const NUMBERS = [NaN, 0, -0, 1, -1, 0.5, 1e308, Infinity, -Infinity, 2 ** 31, 2 ** 32, 2 ** 53];
const STRINGS = ['', ' ', 'a', '0', '1e9', 'a\0b', '\ud800', '\udc00x', 'ß🤖', 'x'.repeat(300)];
const NAMES = [
  'code',
  'constructor',
  'data',
  'error',
  'message',
  'name',
  'output',
  'then',
  'toJSON',
];

function cyclic() {
  const one = { list: [] };
  one.list.push(one);
  return one;
}

function detached() {
  const bytes = new Uint8Array(8);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const throws = (error) => () => {
  throw error;
};

const rejects = (error) => () => Promise.reject(error);

const throwing = { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail };

const SIMPLE = [
  () => undefined,
  () => null,
  () => true,
  () => 7n,
  () => Symbol('odd'),
  () => Symbol.for('odd'),
  (random) => random.pick(NUMBERS),
  (random) => random.pick(STRINGS),
];

const OBJECTS = [
  () => ({}),
  () => Object.create(null),
  () => Object.freeze({}),
  () => JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'),
  () => Object.create({ agentId: 'inherited', limit: 1 }),
  () => new Proxy({}, throwing),
  () => new Proxy([], { get: fail }),
  () => new Proxy(() => {}, { apply: fail, get: fail }),
  revoked,
  cyclic,
  detached,
  () => [],
  () => new Array(3),
  () => new Date(NaN),
  () => new Map([['agentId', 'a']]),
  () => new Uint8Array(3),
  () => Buffer.alloc(70, 'WA1'),
  () => new Uint8Array(new SharedArrayBuffer(70)),
  () => new Float64Array(2),
  () => new String('boxed'),
  () => Object(Symbol('boxed')),
  () => Object(1n),
  () => Promise.resolve('a'),
  () => new Error('odd'),
  () => fail,
  () => () => Symbol('returned'),
  () => async () => fail(),
  () => class Odd {},
  (random) => throws(odd(random)),
  (random) => rejects(odd(random)),
  () => ({ toString: fail, valueOf: fail, [Symbol.toPrimitive]: fail }),
  () => ({ toJSON: fail }),
  () => ({ get then() { return fail(); } }), // prettier-ignore
  () => ({ constructor: { name: Symbol('name') } }),
  (random) => ({ [random.pick(NAMES)]: odd(random) }),
  (random) => ({ cause: odd(random), [random.pick(NAMES)]: odd(random) }),
  (random) => Object.assign(new Error('odd'), { [random.pick(NAMES)]: odd(random) }),
  (random) => [odd(random), odd(random)],
  (random) => ({ v: 1, kid: odd(random), ct: odd(random) }),
  (random) => ({ encrypted: odd(random), iv: '0'.repeat(32), authTag: odd(random) }),
];

/** Any value. */
function odd(random) {
  return random.pick(random.below(5) < 2 ? SIMPLE : OBJECTS)(random);
}

/** Good options, one or two of them odd; or something else altogether. */
function oddOptions(random, good) {
  const names = Object.keys(good);
  if (names.length === 0 || random.below(6) < 1) return odd(random);
  const options = { ...good };
  options[random.pick(names)] = odd(random);
  if (random.below(3) < 1) options[random.pick(names)] = odd(random);
  switch (Math.floor(random.below(8))) {
    case 0:
      return Object.freeze(options);
    case 1:
      return Object.assign(Object.create(null), options);
    case 2:
      return Object.create(options);
    case 3:
      return Object.defineProperty(options, random.pick(names), { get: fail, enumerable: true });
    default:
      return options;
  }
}

/** Good arguments, one of them odd or missing. `Options` among them are made odd inside. */
function oddArguments(random, good) {
  const args = good.map((argument) => (argument instanceof Options ? argument.good : argument));
  const at = Math.floor(random.below(args.length));
  const inside = good[at] instanceof Options;
  args[at] = inside ? oddOptions(random, good[at].good) : odd(random);
  return args;
}

/** Options of a call, as they should be. */
class Options {
  constructor(good) {
    this.good = good;
  }
}

module.exports = { Options, OwnError, Random, odd, oddArguments };
