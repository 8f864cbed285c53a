'use strict';

// What a guard shows of itself: counters and health. It goes on to answer after shutdown(), so
// that the last scrape of a process that ends is not one that fails.

const { checkMs, checkObject, checkOptionalBoolean } = require('../arguments');
const { invalidArgument } = require('../errors');
const { familiesOf } = require('./families');
const { Health, healthHandler } = require('./health');
const { register } = require('./registry');
const { snapshot } = require('./snapshot');
const { textOf } = require('./text');

/** A probe that takes longer is of no use to a load balancer. */
const HEALTH_TIMEOUT_MS = 2000;

class Insight {
  #parts;
  #refusedClaims = 0;
  #health;

  /** @param {object} parts what `snapshot` and `Health` need of a guard */
  constructor(parts) {
    this.#parts = { ...parts, refusedClaims: () => this.#refusedClaims };
    this.#health = new Health(parts);
  }

  /** Where the guard notes that the database failed, or works again. */
  get health() {
    return this.#health;
  }

  /** Somebody asked for an agent that has a live owner elsewhere. */
  claimRefused(agentId, owner) {
    this.#refusedClaims += 1;
    this.#parts.listeners.tell('conflict', { agentId, kind: 'claimRefused', owner });
  }

  metrics() {
    return snapshot(this.#parts, true);
  }

  metricsText(options) {
    const { perAgent } = checkShown(options);
    return textOf(familiesOf({ perAgent }), snapshot(this.#parts, perAgent));
  }

  registerMetrics(registry, options) {
    const { perAgent } = checkShown(options);
    const label = options?.guard;
    if (label !== undefined && (typeof label !== 'string' || label === '')) {
      throw invalidArgument('guard', 'must be a string that is not empty');
    }
    const isRegistry = ['registerMetric', 'getSingleMetric'].every(
      (name) => typeof registry?.[name] === 'function',
    );
    if (!isRegistry) throw invalidArgument('registry', 'must be a Registry of prom-client');
    const families = familiesOf({ perAgent });
    const { isShutDown: isOver } = this.#parts;
    const metrics = () => snapshot(this.#parts, perAgent);
    register(registry, this, { metrics, isOver, families, label });
  }

  check(options) {
    return this.#health.check(checkHealth(options));
  }

  handler(options) {
    const timeoutMs = checkHealth(options);
    return healthHandler(() => this.#health.check(timeoutMs));
  }
}

function checkShown(given) {
  const { perAgent = false } = checkObject(given, 'options');
  checkOptionalBoolean(perAgent, 'perAgent');
  return { perAgent };
}

function checkHealth(given) {
  const { timeoutMs = HEALTH_TIMEOUT_MS } = checkObject(given, 'options');
  return checkMs(timeoutMs, 'timeoutMs', { min: 1, max: 60_000 });
}

module.exports = { Insight };
