'use strict';

const { cleanUp } = require('./cleanup');

module.exports = () => cleanUp();
