'use strict';

// What doctor has found. A failure has to be mended; a warning works, with a drawback that it
// names. Both say how.

class Findings {
  list = [];

  ok(check, message) {
    this.list.push({ check, level: 'ok', message });
  }

  warning(check, message, mend) {
    this.list.push({ check, level: 'warning', message, mend });
  }

  failure(check, message, mend) {
    this.list.push({ check, level: 'failure', message, mend });
  }

  /** It could not be looked at; the message says why. */
  skipped(check, message) {
    this.list.push({ check, level: 'skipped', message });
  }
}

module.exports = { Findings };
