'use strict';

// Metrics in a registry of prom-client's, read when it is scraped.
//
// A registry knows a name once, so the guards in it share each metric and are told apart by the
// label `guard`. prom-client itself is not needed: a registry takes any metric that answers
// get(), which is how prom-client's own are read.

const { GuardError } = require('../errors');

/** Registry -> Entries. Weak: who drops a registry drops what is in it. */
const registries = new WeakMap();

/** The guards in one registry. */
class Entries {
  #guards = new Map(); // key -> { label, isOver, metrics, families }
  #names = new Set();

  get(key) {
    return this.#guards.get(key);
  }

  /** Whether two guards would write the same series; one that was shut down makes way. */
  clashes(label) {
    for (const [key, entry] of this.#guards) {
      if (entry.label === label && entry.isOver()) this.#guards.delete(key);
      else if (entry.label === label) return true;
    }
    return false;
  }

  add(key, entry, registry, families) {
    this.#guards.set(key, entry);
    for (const family of families) {
      if (this.#names.has(family.name)) continue;
      this.#names.add(family.name);
      registry.registerMetric(new Metric(family, this));
    }
  }

  /** Values of one metric, of all guards that show it. */
  values({ name, type, read }) {
    return [...this.#guards.values()]
      .filter(({ families }) => families.has(name))
      .flatMap(({ label, metrics }) =>
        read(metrics()).map(({ suffix, labels, value }) => ({
          value,
          labels: label === undefined ? labels : { guard: label, ...labels },
          // Names of counters are prom-client's to complete, which OpenMetrics spells otherwise.
          ...(type === 'histogram' ? { metricName: name + suffix } : {}),
        })),
      );
  }
}

/** As much of a metric of prom-client's as a registry uses. */
class Metric {
  #family;
  #entries;

  constructor(family, entries) {
    this.#family = family;
    this.#entries = entries;
    this.name = family.name;
    this.help = family.help;
    this.type = family.type;
    this.aggregator = family.aggregator;
  }

  async get() {
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: this.#entries.values(this.#family) };
  }

  /** What is counted here only grows. */
  reset() {}
}

/** One reading for all metrics of a scrape: a registry asks them in one go. */
function once(read) {
  let metrics;
  return () => {
    if (metrics === undefined) {
      metrics = read();
      queueMicrotask(() => (metrics = undefined));
    }
    return metrics;
  };
}

/**
 * @param {object} registry
 * @param {object} key stands for the guard
 * @param {object} what
 * @param {() => object} what.metrics
 * @param {() => boolean} what.isOver whether the guard was shut down
 * @param {object[]} what.families
 * @param {string} [what.label]
 */
function register(registry, key, { metrics, isOver, families, label }) {
  const known = registries.get(registry);
  // After registry.clear() what was there is gone.
  const isThere = known && registry.getSingleMetric(families[0].name) !== undefined;
  const entries = isThere ? known : new Entries();
  const names = new Set(families.map(({ name }) => name));
  const before = entries.get(key);
  if (before) {
    if (before.label === label && before.families.size === names.size) return;
    throw new GuardError(
      'ERR_ALREADY_CONFIGURED',
      'the metrics of this guard are in this registry already, with other options',
    );
  }
  if (entries.clashes(label)) {
    throw new GuardError(
      'ERR_ALREADY_CONFIGURED',
      'another guard is in this registry under the same label; tell them apart by ' +
        "registerMetrics(registry, { guard: '…' })",
    );
  }
  const entry = { label, isOver, metrics: once(metrics), families: names };
  entries.add(key, entry, registry, families);
  registries.set(registry, entries);
}

module.exports = { register };
