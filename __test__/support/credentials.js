'use strict';

// What the tests of credentials share.

const KEY_A = '00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0';
const KEY_B = 'f0e1d2c3b4a5968778695a4b3c2d1e0fffeeddccbbaa99887766554433221100';

/** The error that a call throws; a call that throws none fails the test. */
function thrown(call) {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error('it should have thrown and did not');
}

module.exports = { KEY_A, KEY_B, thrown };
