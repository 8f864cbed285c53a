'use strict';

// A headless Chromium of the system, driven by puppeteer-core.

const fs = require('node:fs');

const { onPath } = require('./debian-package');
const { defer } = require('./cleanup');

const findChromium = () =>
  process.env.CHROMIUM ??
  ['chromium', 'chromium-browser', 'google-chrome'].map(onPath).find(Boolean) ??
  ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'].find((file) =>
    fs.existsSync(file),
  );

/** `describe`, or a line that says why these tests are left out. */
function describeWithChromium(title, tests) {
  if (findChromium()) return describe(title, tests);
  console.warn(`SKIPPED: ${title}, because there is no Chromium on this system`);
  return describe.skip(title, tests);
}

async function startChromium() {
  const puppeteer = require('puppeteer-core');
  const browser = await puppeteer.launch({
    executablePath: findChromium(),
    // It refuses to run as root in its sandbox, and has nothing to load but our own page.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  defer(() => browser.close());
  return browser;
}

module.exports = { describeWithChromium, findChromium, startChromium };
