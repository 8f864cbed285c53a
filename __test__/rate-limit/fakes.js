'use strict';

// A request and a response as Express hands them to middleware, which write down what is done
// with them.

const { EventEmitter } = require('node:events');

function fakeRequest({ ip, headers = {}, trustProxy = false, remoteAddress = '127.0.0.9' }) {
  return { ip, headers, socket: { remoteAddress }, app: { get: () => trustProxy } };
}

class FakeResponse extends EventEmitter {
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  #note;

  constructor(note) {
    super();
    this.#note = note;
  }

  setHeader(name, value) {
    this.#note(['setHeader', name, value]);
  }

  append(name, value) {
    this.#note(['append', name, value]);
  }

  status(code) {
    this.#note(['status', code]);
    this.statusCode = code;
    return this;
  }

  send(body) {
    this.#note(['send', typeof body === 'function' ? 'a function' : body]);
    this.headersSent = true;
    this.writableEnded = true;
    this.emit('finish');
    this.emit('close');
  }

  /** Ends as a route would: `how` is finish, close (the client went away) or error. */
  end(statusCode, how) {
    if (this.writableEnded) return;
    this.statusCode = statusCode;
    if (how === 'error') {
      if (this.listenerCount('error') > 0) this.emit('error', new Error('the socket broke'));
      return;
    }
    this.writableEnded = how === 'finish';
    if (how === 'finish') this.emit('finish');
    this.emit('close');
  }
}

module.exports = { fakeRequest, FakeResponse };
