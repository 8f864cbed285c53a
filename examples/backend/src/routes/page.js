'use strict';

/** The page: static files, and QR codes as pictures. */

const path = require('node:path');
const express = require('express');
const QRCode = require('qrcode');

const { HttpError } = require('../errors');
const baileysService = require('../services/baileysService');

const PUBLIC = path.join(__dirname, '..', '..', 'public');

const router = express.Router();

router.get('/qr-codes/:agentId.svg', async (request, response) => {
  const { qrCode } = await baileysService.getStatus(request.params.agentId);
  if (!qrCode) throw new HttpError(404, 'there is no QR code to scan');
  const picture = await QRCode.toString(qrCode, { type: 'svg', errorCorrectionLevel: 'L' });
  response.set('Cache-Control', 'no-store').type('image/svg+xml').send(picture);
});

router.use(express.static(PUBLIC));

module.exports = router;
