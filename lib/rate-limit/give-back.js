'use strict';

// skipFailedRequests and skipSuccessfulRequests: a request is counted when it comes and given
// back when its outcome is known.

/**
 * Listens for how a response ends. Has to be called before anything is waited for: a response
 * that ended meanwhile does not say so again.
 */
function watch(options, response) {
  const once = (event) => new Promise((resolve) => response.once(event, resolve));
  const failed = options.skipFailedRequests;
  return {
    closed: failed && once('close'),
    finished: once('finish'),
    errored: failed && once('error'),
  };
}

/**
 * @param {object} options
 * @param {object} call the request and its `endings` from `watch`
 * @param {() => unknown} decrement gives the hit back to the store
 */
function giveBack(options, call, decrement) {
  const { request, response, endings } = call;
  const log = (what) => (error) =>
    options.logger.error(error, `express-rate-limit: error ${what}.`);
  let given = false;
  const once = async () => {
    if (given) return;
    given = true;
    try {
      await decrement();
    } catch (error) {
      log('from store during decrement')(error);
    }
  };
  const onFinish = (outcome) => {
    endings.finished
      .then(() => options.requestWasSuccessful(request, response))
      .then((success) => (Boolean(success) === outcome ? once() : undefined))
      .catch(log('in requestWasSuccessful callback'));
  };
  if (options.skipFailedRequests) {
    onFinish(false);
    endings.closed
      .then(() => (response.writableEnded ? undefined : once()))
      .catch(log('handling close event during decrement'));
    endings.errored.then(once).catch(log('handling error event during decrement'));
  }
  if (options.skipSuccessfulRequests) onFinish(true);
}

module.exports = { watch, giveBack };
