'use strict';

/** The page: static files, and QR codes as pictures. */

const path = require('node:path');
const express = require('express');
const QRCode = require('qrcode');

const config = require('../config');
const { HttpError } = require('../errors');
const baileysService = require('../services/baileysService');

const PUBLIC = path.join(__dirname, '..', '..', 'public');

/** Nothing from elsewhere, nothing inline. Only the demo shows two servers in one page. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  `frame-ancestors ${config.demoControlUrl ? 'http://127.0.0.1:*' : "'none'"}`,
].join('; ');

const router = express.Router();

router.use((request, response, next) => {
  response.set({
    'Content-Security-Policy': POLICY,
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
  });
  next();
});

router.get('/qr-codes/:agentId.svg', async (request, response) => {
  const { qrCode } = await baileysService.getStatus(request.params.agentId);
  if (!qrCode) throw new HttpError(404, 'there is no QR code to scan');
  const picture = await QRCode.toString(qrCode, { type: 'svg', errorCorrectionLevel: 'L' });
  response.set('Cache-Control', 'no-store').type('image/svg+xml').send(picture);
});

router.use(express.static(PUBLIC));

module.exports = router;
