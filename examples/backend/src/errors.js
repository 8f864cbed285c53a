'use strict';

/** Errors as HTTP answers. */

/** An answer other than 200, thrown from anywhere below a route; `details` go into its body. */
class HttpError extends Error {
  constructor(status, message, details) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

const AGENT_IN_USE = 'Agent is already in use by another server instance';

const STATUS_OF_CODE = {
  ERR_AGENT_IN_USE: 409,
  ERR_CLAIM_LOST: 409,
  ERR_INVALID_ARGUMENT: 400,
  ERR_USER_ID_REQUIRED: 400,
  ERR_DATABASE_UNAVAILABLE: 503,
  ERR_SHUT_DOWN: 503,
};

/** Who has an agent, as clients may see it. */
function ownerOf({ instanceId, hostname, pid, lastHeartbeat, heartbeatAgeMs }) {
  return { instanceId, hostname, pid, lastHeartbeat, heartbeatAgeMs };
}

// Express knows an error handler by its four parameters.
// eslint-disable-next-line no-unused-vars
function errorHandler(error, request, response, next) {
  if (response.closed) return; // whoever asked has gone
  const status = STATUS_OF_CODE[error.code] ?? error.status ?? 500;
  if (status === 500) console.error('[BACKEND]', error);
  const message = status === 500 ? 'Internal server error' : error.message;
  const body = { error: message, code: error.code, ...error.details };
  if (error.code === 'ERR_AGENT_IN_USE') {
    body.error = AGENT_IN_USE;
    body.owner = ownerOf(error.owner);
    body.retryAfterMs = error.retryAfterMs;
  }
  if (body.retryAfterMs !== undefined) {
    response.set('Retry-After', String(Math.ceil(body.retryAfterMs / 1000)));
  }
  response.status(status).json(body);
}

module.exports = { AGENT_IN_USE, HttpError, errorHandler, ownerOf };
