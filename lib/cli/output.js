'use strict';

// What the tool writes, and where: the result to standard output, everything else to standard
// error. With `--json` the result is one JSON document and nothing else is on standard output.
//
// Texts from a database (host names, agent ids) may hold anything: control characters, which could
// steer a terminal, are shown as �. Passwords of URLs are masked wherever one might appear.

const { maskUrls } = require('./database-url');

// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

const printable = (value) => maskUrls(String(value)).replace(CONTROL, '\ufffd');

class Output {
  #stdout;
  #stderr;
  #told = false;

  constructor({ json = false, verbose = false }, { stdout, stderr }) {
    this.json = json;
    this.#stdout = stdout;
    this.#stderr = stderr;
    const tell = (...texts) => this.note(texts.join(' '));
    const hear = verbose ? tell : () => {};
    /** What the guard says: its warnings, and the rest when asked for. */
    this.logger = { debug: hear, info: hear, warn: tell, error: tell };
  }

  /** Whether a person sees the result. */
  get isTerminal() {
    return Boolean(this.#stdout.isTTY);
  }

  /** The stream that progress is drawn on, where a person sees it. */
  get screen() {
    return this.#stderr.isTTY ? this.#stderr : undefined;
  }

  /** A line for people, beside the result. */
  note(text) {
    this.#stderr.write(`${printable(text)}\n`);
  }

  /** The result: the document for programs, the lines for people. */
  result(document, lines) {
    if (this.json) this.document(document);
    else for (const line of lines) this.#stdout.write(`${printable(line)}\n`);
  }

  /** The one JSON document. */
  document(value) {
    if (this.#told) return;
    this.#told = true;
    const text = JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? `${item}` : item));
    this.#stdout.write(`${maskUrls(text)}\n`);
  }

  /** `code: message`, never a stack. */
  failure(error) {
    const { code, message, owner } = describeError(error);
    this.note(`${code}: ${message}`);
    if (owner) this.note(describeOwner(owner));
    if (this.json) this.document({ error: describeError(error) });
  }
}

/** An error as it is shown: what is no error of ours is a bug, and says so. */
function describeError(error) {
  if (!String(error?.code).startsWith('ERR_')) {
    return { code: 'ERR_INTERNAL', message: error?.message ?? String(error) };
  }
  const { code, message, agentId, owner, retryAfterMs } = error;
  return { code, message, agentId, owner, retryAfterMs };
}

function describeOwner({ instanceId, hostname, pid, heartbeatAgeMs }) {
  return (
    `owner: ${instanceId} on ${hostname}, process ${pid}, ` +
    `last heartbeat ${duration(heartbeatAgeMs)} ago`
  );
}

/** A span of time as a person says it. */
function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 72 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

module.exports = { Output, counted, describeError, describeOwner, duration, printable };
