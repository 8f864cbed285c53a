'use strict';

/**
 * Key pairs of the simulated world, each derived from a public label.
 *
 * NOT SECRET, TEST ONLY. Whoever reads this file has every private key: the root that signs the
 * endpoint's certificate, its Noise key, the keys of all simulated phones. Being derived, they are
 * the same after a restart and known to every process without a file being passed around.
 *
 * Curve25519 pairs made from an Ed25519 seed: the scalar that Ed25519 derives from the seed is also
 * the X25519 private key, so Node can sign natively, and setting the sign bit of the Edwards point in
 * the signature's last byte makes it the XEdDSA signature that Signal's `verify` expects. The pure
 * JavaScript signer takes over 5 ms a signature, this one well under 0.1 ms.
 */

const crypto = require('node:crypto');

const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex');
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');
const X25519_PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

function privateKey(prefix, raw) {
  return crypto.createPrivateKey({
    key: Buffer.concat([prefix, raw]),
    format: 'der',
    type: 'pkcs8',
  });
}

function rawPublic(key) {
  return crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
}

/**
 * The key pair of a label: `{ private, public, sign(message) }`, keys as 32 bytes.
 * @param {string} label
 */
function keyPairFor(label) {
  const seed = crypto.createHash('sha256').update(`whatsapp-endpoint test key: ${label}`).digest();
  const scalar = crypto.createHash('sha512').update(seed).digest().subarray(0, 32);
  scalar[0] &= 248;
  scalar[31] = (scalar[31] & 127) | 64;
  let signer;
  return {
    private: scalar,
    public: rawPublic(privateKey(X25519_PKCS8, scalar)),
    sign(message) {
      signer ??= privateKey(ED25519_PKCS8, seed); // most pairs never sign
      const signature = crypto.sign(null, message, signer);
      signature[63] |= rawPublic(signer)[31] & 128;
      return signature;
    },
  };
}

const P = 2n ** 255n - 19n;

function inverse(value) {
  let result = 1n;
  let base = value % P;
  for (let exponent = P - 2n; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}

const littleEndian = (bytes) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);

/**
 * Whether an XEdDSA signature is by this X25519 key. (`Curve.verify` of Baileys 7.0.0-rc14 is true
 * for any 64 bytes: it waits for an exception where libsignal 6.0.0 returns false.)
 */
function verify(publicKey, message, signature) {
  if (publicKey?.length !== 32 || signature?.length !== 64) return false;
  const u = littleEndian(publicKey) & (2n ** 255n - 1n);
  const y = ((u + P - 1n) * inverse(u + 1n)) % P; // from the Montgomery to the Edwards curve
  const edwards = Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse();
  edwards[31] |= signature[63] & 128;
  const plain = Buffer.from(signature);
  plain[63] &= 127;
  const der = Buffer.concat([ED25519_SPKI, edwards]);
  const key = crypto.createPublicKey({ key: der, format: 'der', type: 'spki' });
  return crypto.verify(null, message, key, plain);
}

/** Signs the endpoint's certificate; `trust.js` gives its public half to a client. */
const rootKey = keyPairFor('root');

module.exports.keyPairFor = keyPairFor;
module.exports.verify = verify;
module.exports.rootKey = rootKey;
