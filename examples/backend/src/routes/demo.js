'use strict';

/** For the demo only, on this machine only: a phone that scans, and a sudden death. */

const { Router } = require('express');

const config = require('../config');
const { HttpError } = require('../errors');
const baileysService = require('../services/baileysService');

const router = Router();

// A name of somebody else's that leads here (DNS rebinding) would make other sites this one.
router.use((request, response, next) => {
  if (request.hostname !== '127.0.0.1') throw new HttpError(403, 'ask for 127.0.0.1');
  next();
});

/** The offline endpoint's phone scans the agent's QR code. */
router.post('/scan/:agentId', async (request, response) => {
  const { qrCode } = await baileysService.getStatus(request.params.agentId);
  if (!qrCode) throw new HttpError(409, 'there is no QR code to scan');
  const scanned = await fetch(new URL('/scan', config.demoControlUrl), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ qr: qrCode }),
  });
  if (!scanned.ok) throw new HttpError(502, (await scanned.json()).error);
  response.json({ status: 'connecting' });
});

router.post('/kill', () => process.kill(process.pid, 'SIGKILL'));

module.exports = router;
