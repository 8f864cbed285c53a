'use strict';

// A TCP proxy on loopback that breaks connections in the ways networks do, at the moment a test
// wants it: what goes through can be looked at, held back, delayed, dropped and cut.
//
//   const proxy = await startProxy(databaseUrl);
//   proxy.onClientBytes((bytes, connection) => {
//     if (bytes.includes('COMMIT')) connection.hold('server'); // the answer will not arrive …
//   });
//   createGuard({ databaseUrl: proxy.url });
//   await once(proxy, 'held'); // … it is on its way,
//   proxy.cut(); //               and lost.
//
// 'client' names the bytes from client to server, 'server' those that come back.
//
// Events: 'connection' (connection), 'client-bytes' and 'server-bytes' (bytes, connection), 'held'
// (direction, connection) when bytes arrive that are held back, 'close' (connection).

const { EventEmitter } = require('node:events');
const net = require('node:net');

const { defer } = require('./cleanup');

const DIRECTIONS = ['client', 'server'];

/** A socket that has sent its end cannot be reset any more, and would stay open if one tried. */
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** One direction of one connection: a queue between two sockets. */
class Flow {
  #queue = [];
  #timer;
  held = false;
  passed = 0;

  constructor(connection, direction, sink) {
    this.connection = connection;
    this.direction = direction;
    this.sink = sink;
  }

  /** `bytes` null is the end of the stream. */
  push(bytes) {
    this.#queue.push({ bytes, due: performance.now() + this.connection.proxy.delayMs });
    if (this.held && bytes) {
      this.connection.proxy.emit('held', this.direction, this.connection);
    }
    this.flush();
  }

  flush() {
    clearTimeout(this.#timer);
    while (!this.held && this.#queue.length > 0 && !this.connection.closed) {
      const { bytes, due } = this.#queue[0];
      const wait = due - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.flush(), Math.ceil(wait));
        return;
      }
      this.#queue.shift();
      if (bytes) this.#pass(bytes);
      else this.sink.end();
    }
  }

  #pass(bytes) {
    const limit = this.connection.cutAfter[this.direction];
    const rest = limit - this.passed;
    this.passed += Math.min(bytes.length, rest);
    if (bytes.length < rest) {
      this.sink.write(bytes);
      return;
    }
    // The part that still gets through has to leave before the connection is reset.
    this.sink.write(bytes.subarray(0, rest), () => this.connection.cut());
  }

  discard() {
    clearTimeout(this.#timer);
    this.#queue = [];
  }
}

class Connection {
  closed = false;
  cutAfter = { client: Infinity, server: Infinity };

  constructor(proxy, client, server) {
    this.proxy = proxy;
    this.sockets = { client, server };
    this.flows = {
      client: new Flow(this, 'client', server),
      server: new Flow(this, 'server', client),
    };
    for (const direction of DIRECTIONS) {
      const socket = this.sockets[direction].setNoDelay(true);
      socket.on('data', (bytes) => proxy.passThrough(this, direction, bytes));
      socket.on('end', () => this.flows[direction].push(null));
      socket.on('error', () => this.cut());
      socket.on('close', () => {
        if (client.destroyed && server.destroyed) this.#ended();
      });
    }
  }

  hold(direction = 'server') {
    this.flows[direction].held = true;
  }

  release(direction = 'server') {
    this.flows[direction].held = false;
    this.flows[direction].flush();
  }

  /** Resets it on the client's side only; what was held can still be released to the server. */
  abandon() {
    reset(this.sockets.client);
  }

  /** Resets it on both sides; what was held is lost. */
  cut() {
    for (const socket of Object.values(this.sockets)) reset(socket);
    this.#ended();
  }

  #ended() {
    if (this.closed) return;
    this.closed = true;
    for (const flow of Object.values(this.flows)) flow.discard();
    this.proxy.connections.delete(this);
    this.proxy.emit('close', this);
  }
}

class Proxy extends EventEmitter {
  connections = new Set();
  delayMs = 0;
  #target;
  #server;
  #hooks = { client: undefined, server: undefined };
  #held = new Set();
  #cutAfter = { client: Infinity, server: Infinity };
  #waiting = new Set();
  #blackhole = false;

  constructor(url) {
    super();
    this.#target = new URL(url);
  }

  /** The target's URL by way of this proxy. */
  get url() {
    const url = new URL(this.#target);
    url.hostname = '127.0.0.1';
    url.port = this.port;
    return url.href;
  }

  /** Cuts every connection by a reset. */
  cut() {
    for (const connection of [...this.connections]) connection.cut();
    for (const socket of this.#waiting) reset(socket);
  }

  /** Nobody listens: new connections are refused. Those there are stay. */
  async refuse(on = true) {
    if (on) {
      this.#server?.close();
      this.#server = undefined;
    } else if (!this.#server) {
      await this.listen();
    }
  }

  /** Holds all bytes back for so long, each way; those under way keep their time. */
  delay(ms) {
    this.delayMs = ms;
  }

  /** Holds back what goes this way, on these and on new connections, until `release`. */
  hold(direction = 'server') {
    this.#held.add(direction);
    for (const connection of this.connections) connection.hold(direction);
  }

  release(direction = 'server') {
    this.#held.delete(direction);
    for (const connection of this.connections) connection.release(direction);
  }

  /** Cuts every connection, also new ones, when so many bytes have gone this way. */
  cutAfterBytes(bytes, direction = 'client') {
    this.#cutAfter[direction] = bytes;
    for (const connection of this.connections) {
      connection.cutAfter[direction] = connection.flows[direction].passed + bytes;
    }
  }

  /**
   * A network that swallows everything: connections stay open and silent, new ones are taken and
   * not answered. Afterwards TCP repeats what was lost, so it all arrives late.
   */
  blackhole(on = true) {
    this.#blackhole = on;
    for (const direction of DIRECTIONS) {
      if (on) this.hold(direction);
      else this.release(direction);
    }
    if (on) return;
    for (const socket of this.#waiting) this.#connect(socket);
    this.#waiting.clear();
  }

  /**
   * `decide(bytes, connection)` sees what a client sends before it is passed on, and may hold or
   * cut the connection. What it returns goes through instead: other bytes, or null for nothing.
   */
  onClientBytes(decide) {
    this.#hooks.client = decide;
  }

  /** The same for what the server sends. */
  onServerBytes(decide) {
    this.#hooks.server = decide;
  }

  /** For connections: one piece of the stream has come in. */
  passThrough(connection, direction, bytes) {
    this.emit(`${direction}-bytes`, bytes, connection);
    const instead = this.#hooks[direction]?.(bytes, connection);
    const through = instead === undefined ? bytes : instead;
    if (through && !connection.closed) connection.flows[direction].push(through);
  }

  listen() {
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
      if (!this.#blackhole) return this.#connect(socket);
      this.#waiting.add(socket.on('error', () => {}));
      socket.on('close', () => this.#waiting.delete(socket));
    });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.port ?? 0, '127.0.0.1', () => {
        this.port = this.#server.address().port;
        resolve();
      });
    });
  }

  #connect(client) {
    const host = this.#target.hostname.replace(/^\[|\]$/g, '');
    const server = net.connect({ host, port: this.#target.port || 5432, allowHalfOpen: true });
    const connection = new Connection(this, client, server);
    connection.cutAfter = { ...this.#cutAfter };
    for (const direction of this.#held) connection.hold(direction);
    this.connections.add(connection);
    this.emit('connection', connection);
  }

  async close() {
    await this.refuse();
    this.cut();
  }
}

/** A proxy to the host and port of a URL; closed when the test file is through. */
async function startProxy(url) {
  const proxy = new Proxy(url);
  await proxy.listen();
  defer(() => proxy.close());
  return proxy;
}

module.exports = { startProxy };
