'use strict';

// What a guard shows of itself.

const { costly, repeat } = require('./repeat');

const READ = 'a call asks the database, many at once share the answer';

/** As much of a registry of prom-client's as is used. */
class Registry extends Map {
  registerMetric(metric) {
    this.set(metric.name, metric);
  }

  getSingleMetric(name) {
    return this.get(name);
  }
}

const listening =
  (name) =>
  ({ library }) =>
    repeat(
      () => {
        const listener = () => {};
        library[name]('trouble', listener);
        library.off('trouble', listener);
      },
      { refused: [() => library[name]('trouble', 'no function')] },
    );

const onGuard = {
  metrics: ({ guard }) => repeat(() => guard.metrics()),
  metricsText: ({ guard }) =>
    repeat(() => guard.metricsText({ perAgent: true }), {
      refused: [() => guard.metricsText({ perAgent: 'yes' })],
    }),
  registerMetrics: ({ guard }) =>
    repeat(
      async () => {
        const registry = new Registry();
        guard.registerMetrics(registry);
        guard.registerMetrics(registry);
        await Promise.all([...registry.values()].map((metric) => metric.get())); // a scrape
      },
      { refused: [() => guard.registerMetrics({})] },
    ),
  health: costly(1, READ, ({ guard }) =>
    repeat(() => guard.health(), { refused: [() => guard.health({ timeoutMs: 0 })] }),
  ),
  healthHandler: ({ guard }) =>
    repeat(() => guard.healthHandler(), { refused: [() => guard.healthHandler({ timeoutMs: 0 })] }),
};

const others = {
  HealthHandler: costly(1, READ, ({ guard }) => {
    const handler = guard.healthHandler();
    return repeat(
      () =>
        new Promise((end, next) => {
          handler({}, { setHeader() {}, end }, next);
        }),
    );
  }),
};

const onModule = {
  on: listening('on'),
  once: listening('once'),
  off: ({ library }) =>
    repeat(() => library.off('trouble', () => {}), {
      refused: [() => library.off('trouble', 'no function')],
    }),
};

module.exports = { onGuard, onModule, others };
