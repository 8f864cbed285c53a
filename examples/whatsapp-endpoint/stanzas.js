'use strict';

/** Building and reading stanzas: `{ tag, attrs, content }`, as Baileys encodes and decodes them. */

const SERVER = '@s.whatsapp.net';

/** A stanza; attributes that are undefined are left out. */
function node(tag, attrs = {}, content = undefined) {
  const given = Object.entries(attrs).filter(([, value]) => value !== undefined);
  return { tag, attrs: Object.fromEntries(given), content };
}

function children(parent, tag) {
  const all = Array.isArray(parent?.content) ? parent.content : [];
  return tag === undefined ? all : all.filter((one) => one.tag === tag);
}

function child(parent, tag) {
  return children(parent, tag)[0];
}

function unixSeconds() {
  return String(Math.floor(Date.now() / 1000));
}

/** `<skey>` or `<key>` as uploaded by a client: id, value and, for skey, signature. */
function readKey(parent) {
  return {
    id: child(parent, 'id').content,
    value: child(parent, 'value').content,
    signature: child(parent, 'signature')?.content,
  };
}

/** `<skey>` or `<key>`, from what readKey gives. */
function keyNode(tag, { id, value, signature }) {
  const parts = [node('id', {}, id), node('value', {}, value)];
  if (signature) parts.push(node('signature', {}, signature));
  return node(tag, {}, parts);
}

module.exports.SERVER = SERVER;
module.exports.node = node;
module.exports.child = child;
module.exports.children = children;
module.exports.unixSeconds = unixSeconds;
module.exports.readKey = readKey;
module.exports.keyNode = keyNode;
