'use strict';

const { Router } = require('express');

const { HttpError } = require('../errors');
const { messageSendLimiter, whatsappInitLimiter } = require('../limits');
const baileysService = require('../services/baileysService');

const router = Router();

/** Body: `{ userId }`, needed the first time where the sessions table asks for a user. */
router.post('/:agentId/init-whatsapp', whatsappInitLimiter, async (request, response) => {
  const { userId } = request.body ?? {};
  response.json(await baileysService.initWhatsApp(request.params.agentId, { userId }));
});

router.get('/:agentId/whatsapp-status', async (request, response) => {
  response.json(await baileysService.getStatus(request.params.agentId));
});

/** Body: `{ to, message }`; `to` is a phone number or a WhatsApp address. */
router.post('/:agentId/send-message', messageSendLimiter, async (request, response) => {
  const { to, message } = request.body ?? {};
  for (const [name, value] of Object.entries({ to, message })) {
    if (typeof value !== 'string' || value === '') throw new HttpError(400, `${name} is missing`);
  }
  const signal = whenClosed(response); // who has gone does not wait for a turn any more
  response.json(await baileysService.sendMessage(request.params.agentId, to, message, { signal }));
});

/** Body: `{ logout: true }` also unlinks the device from the phone. */
router.post('/:agentId/disconnect', async (request, response) => {
  const { logout = false } = request.body ?? {};
  response.json(await baileysService.disconnect(request.params.agentId, { logout }));
});

/** A signal that is aborted when nobody waits for the answer any more, which may be so already. */
function whenClosed(response) {
  const closing = new AbortController();
  if (response.closed) closing.abort();
  else response.once('close', () => closing.abort());
  return closing.signal;
}

module.exports = router;
